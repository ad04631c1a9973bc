"""What is looked for on the page in a browser."""

PATIENCE = 60_000  # ms for what a page shows or does by itself, on a machine that is busy


async def new_page(browser, **options):
    """A page in a window of its own, with an empty profile."""
    page = await browser.new_page(**options)
    page.set_default_timeout(PATIENCE)
    return page


async def is_live(page):
    await page.get_by_text("Live.", exact=True).wait_for()
