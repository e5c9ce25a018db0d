//! What does not compile, and what the compiler says.

#[test]
fn what_cannot_be_durable_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile/*.rs");
}
