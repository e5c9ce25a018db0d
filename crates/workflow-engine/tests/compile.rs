//! Code that must not compile, and the messages of the compiler.

#[test]
fn what_cannot_be_durable_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile/*.rs");
}
