from shared.domain.denials import DENIALS, DenialClass, denial_context
from shared.domain.error_texts import ERROR_TEXTS
from shared.domain.errors import SafeCode, safe_context


def test_scope_capability_and_initiator_are_final_and_the_rest_may_be_mended() -> None:
    final = {DenialClass.SCOPE, DenialClass.CAPABILITY, DenialClass.INITIATOR}

    assert {one for one in DenialClass if not one.is_retryable} == final
    assert {one for one in DenialClass if one.is_retryable} == {DenialClass.TENANT, DenialClass.PREREQUISITE}


def test_every_code_that_may_deny_a_run_has_a_class_and_a_text() -> None:
    of_runs = {code for code in SafeCode if code.family == "authz"} - {
        SafeCode.AUTHZ_UNAUTHENTICATED,
        SafeCode.AUTHZ_SIGN_IN_LINK_INVALID,
    }

    assert of_runs <= set(DENIALS)
    assert set(DENIALS) <= set(ERROR_TEXTS)
    assert set(DENIALS.values()) == set(DenialClass)


def test_what_a_denied_run_says_gets_through_the_list_of_allowed_words() -> None:
    for code in DENIALS:
        assert safe_context(denial_context(code)) == denial_context(code)
