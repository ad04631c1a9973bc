"""Every finding of `ppmproxy doctor` has a test that makes it appear, does what its fix says, and then finds nothing.

A finding is a call of `warning`, `failed` or `failed_by` in `ppmproxy/cli/doctor`. A new one fails here until `FIXES`
names its test. Only the existence of the test is checked; what it does has to be read.
"""

import ast
import re
from pathlib import Path

from ppmproxy.cli.doctor import checks

TESTS = Path(__file__).parents[2]
SHELL, UPSTREAM = "cli/doctor/test_fixes::test_a", "cli/doctor/test_fixes_upstream::test_a"
TOKENS, FILES = "cli/doctor/test_fixes_tokens::test_a", "cli/doctor/test_fixes_files::test_a"
DAEMON, SET_UPS = "real/service/test_doctor_fixes::test_a", "real/service/test_doctor_set_ups::test_a"
STORAGE = "real/shared_cache/test_faults::test_"
R, INDEXES = "cli/doctor/test_r_settings::test_a", "cli/doctor/test_client_indexes::test_"
CLIENTS_FILES = "cli/doctor/test_fixes_files::test_what_is_wrong_in_the_clients_files_is_mended_there"
OF_THIS_PROGRAM = "none: it would be a mistake of this program, and the fix is to report it"

FIXES = {  # the function with the findings, and a test for each of them, in their order
    "checks.clock_check": ["cli/doctor/test_fixes_upstream::test_clocks_that_differ_are_no_remark_once_they_agree"],
    "checks.token_check": [
        f"{TOKENS}_token_that_is_over_or_refused_is_mended_by_a_new_one_there",
        f"{TOKENS}_token_without_the_scope_is_mended_by_one_of_the_administrator",
        f"{TOKENS}_token_file_that_all_may_read_is_mended_by_the_command",
    ],
    "checks.proxy_variables_check": [f"{SHELL}_variable_of_the_shell_is_mended_by_the_fix_and_by_env"],
    "clients._second_indexes": [
        f"{SHELL}_second_index_in_a_file_is_mended_by_removing_it_from_there",
        f"{SHELL}_variable_of_the_shell_is_mended_by_the_fix_and_by_env",
    ],
    "clients._direct": [
        f"{SHELL}_client_that_is_pointed_at_another_port_than_the_daemon_s_is_mended",
        f"{INDEXES}an_index_that_is_the_package_manager_itself_is_reported",
        "cli/doctor/test_fixes::test_an_index_without_simple_is_mended",
        "cli/doctor/test_r_settings::test_repositories_of_r_past_the_proxy_are_reported_until_the_fix_was_pasted",
    ],
    "clients._not_read": [f"{R}_profile_of_the_project_that_hides_the_user_s_is_reported_until_either_fix"],
    "clients._insistent": [
        f"{INDEXES}an_index_with_which_uv_insists_on_a_password_is_reported_until_configure_has_mended_it"
    ],
    "clients._overrules": [CLIENTS_FILES, CLIENTS_FILES],
    "clients._no_cache": ["cli/doctor/test_fixes::test_pip_that_caches_nothing_is_mended_by_either_fix"],
    "clients._client_proxy": [CLIENTS_FILES],
    "command._shell_settings": [
        f"{FILES}_mistake_in_the_settings_file_is_mended_where_the_finding_says",
        f"{SHELL}_settings_file_in_another_place_is_read_after_the_fix",
    ],
    "command._here": [
        "cli/doctor/test_set_ups::test_a_current_folder_that_is_gone_is_a_finding_and_the_other_checks_go_on"
    ],
    "command._files": [CLIENTS_FILES],
    "command._canary": [OF_THIS_PROGRAM] * 3,
    "daemon._not_running": [
        f"{SHELL}_daemon_that_clients_miss_is_mended_by_starting_it",
        f"{SET_UPS}_service_that_was_stopped_is_started_by_the_fix",
    ],
    "daemon._unproved": [f"{SET_UPS}_proxy_for_every_user_is_no_remark_for_a_second_one_with_their_own"],
    "daemon._reported": [
        f"{DAEMON}_daemon_of_another_version_is_no_remark_after_the_restart",
        f"{DAEMON}_daemon_that_sees_users_at_its_unix_socket_alone_is_mended_by_either_fix",
    ],
    "daemon._reported_of": [
        f"{DAEMON}_token_that_was_not_renewed_is_renewed_once_its_source_is_corrected",
        f"{DAEMON}_package_manager_that_was_silent_is_no_remark_once_it_is_tried_again",
    ],
    "daemon.port_checks": [
        "cli/doctor/test_fixes::test_an_address_that_the_daemon_does_not_hold_is_mended_by_a_restart_with_both"
    ],
    "daemon._held": [f"{SHELL}_port_that_another_program_holds_is_free_once_the_fix_has_ended_it"],
    "daemon._refusing": [f"{DAEMON}_daemon_that_refuses_everybody_is_mended_by_access_for_any"],
    "daemon._state_of": [
        "real/service/test_doctor_fixes::test_silence_that_a_daemon_reports_is_over_once_the_network_is_there",
        f"{DAEMON}_token_that_a_daemon_reports_as_missing_is_there_after_a_sign_in",
    ],
    "for_page.checked_facts": ["cli/doctor/test_for_page::test_an_index_that_cannot_be_meant_is_one_fault"],
    "local._cache": [f"{FILES}_cache_with_a_damaged_database_is_mended_by_the_command"],
    "local._tokens_file": [
        f"{FILES}_token_file_that_is_broken_is_mended_by_each_fix",
        "cli/doctor/test_fixes_files::test_an_entry_that_posit_keyring_does_not_keep_is_mended_by_either_fix",
    ],
    "local._locks": [
        f"{FILES}_lock_file_that_cannot_be_read_is_mended_by_one_that_can",
        f"{SHELL}_lock_file_that_names_the_proxy_is_mended",
        f"{FILES}_link_out_of_the_project_is_left_alone_until_the_person_has_looked_at_it",
    ],
    "shared_cache.shared_cache_checks": [
        f"{FILES}_shared_cache_without_a_cache_is_mended_by_either_fix",
        f"{STORAGE}doctor_finds_nothing_once_the_extra_is_installed",
    ],
    "shared_cache._tried": [
        f"{STORAGE}doctor_tells_writing_from_reading",
        f"{STORAGE}doctor_says_what_is_refused",
        f"{STORAGE}doctor_finds_nothing_once_a_storage_that_does_not_answer_is_reached",
        "cli/doctor/test_shared_cache::test_a_missing_folder_for_temporary_files_is_mended_by_another_one",
        f"{STORAGE}doctor_finds_nothing_once_what_gave_other_bytes_is_out_of_the_way",
    ],
    "subject.shell_remarks": [
        "cli/doctor/test_set_ups::test_the_shell_s_settings_are_no_remark_once_the_fix_was_pasted"
    ],
    "uploads.upload_checks": [CLIENTS_FILES],
    "upstream._in_time": [
        f"{DAEMON}_package_manager_that_takes_too_long_is_found_once_the_network_is_faster",
        f"{UPSTREAM}_ca_file_that_cannot_be_used_is_mended_by_one_in_pem",
    ],
    "upstream._reached": [
        f"{UPSTREAM}_forward_proxy_that_is_wrong_is_mended_in_each_way_of_the_fix",
        f"{UPSTREAM}_forward_proxy_that_is_wrong_is_mended_in_each_way_of_the_fix",
        f"{UPSTREAM}_package_manager_that_is_not_reached_is_found_once_the_network_is_there",
        f"{UPSTREAM}_variable_that_names_unusable_authorities_is_mended_by_either_fix",
    ],
    "upstream._status_finding": [
        f"{UPSTREAM}_package_manager_out_of_order_is_found_later_or_once_its_administrator_has_mended_it",
        f"{UPSTREAM}_url_without_its_path_is_mended_by_the_path",
    ],
    "upstream._upload_tokens": [
        f"{TOKENS}_token_for_uploads_that_is_missing_or_lacks_the_scope_is_mended_by_one_with_it"
    ],
    "upstream._token": [f"{TOKENS}_second_package_manager_without_a_token_has_one_after_the_fix"],
    "upstream._tried": [
        f"{TOKENS}_missing_token_is_there_after_each_way_of_the_fix",
        f"{TOKENS}_repository_that_is_blocked_is_there_once_the_administrator_allows_it",
        f"{UPSTREAM}_package_manager_out_of_order_is_found_later_or_once_its_administrator_has_mended_it",
    ],
    "upstream._no_index": [f"{TOKENS}_repository_that_is_not_there_is_mended_by_naming_another_one"],
}


def findings():
    """The number of findings that each function of doctor can make."""
    found = {}
    for file in sorted(Path(checks.__file__).parent.glob("*.py")):
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        for function in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, functions)):
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            made = [call for call in calls if ast.unparse(call.func) in {"warning", "failed", "failed_by"}]
            if made:
                found[f"{file.stem}.{function.name}"] = len(made)
    of_any_check = ("checks.failed_by", "checks.guarded", "checks.crashed")  # they pass on what a check has found
    return {name: number for name, number in found.items() if name not in of_any_check}


def test_every_finding_has_a_test_that_executes_its_fix():
    assert {name: len(tests) for name, tests in FIXES.items()} == findings()


def test_the_tests_that_execute_fixes_exist():
    named = {test for tests in FIXES.values() for test in tests} - {OF_THIS_PROGRAM}

    for file, test in (one.split("::") for one in sorted(named)):
        text = (TESTS / f"{file}.py").read_text()
        assert re.search(rf"^(?:async )?def {test}\(", text, re.MULTILINE), f"{file} has no {test}"
