"""What is looked for on the page in a browser."""

PATIENCE = 10_000  # ms for what the page shows by itself


async def is_live(page):
    await page.get_by_text("Live.", exact=True).wait_for()
