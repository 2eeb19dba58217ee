//! What must not compile: going to the app without a permit from the gate.

#[test]
fn nothing_can_be_forwarded_without_a_permit() {
    let tests = trybuild::TestCases::new();
    tests.compile_fail("tests/permits/*.rs");
}
