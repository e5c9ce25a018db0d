//! Small crates in memory, and the breaches that are found in them.

use super::*;

/// Checks a crate of these files of its `src` folder.
fn breaches(files: &[(&str, &str)]) -> Vec<String> {
    let file = |(path, text): &(&str, &str)| File {
        path: format!("crates/a/src/{path}"),
        text: (*text).to_owned(),
    };
    let files: Vec<File> = files.iter().map(file).collect();
    let short = |breach: String| breach.replace("crates/a/src/", "");
    check(&files).into_iter().map(short).collect()
}

const TWO: &str = "mod one;\nmod two;\n";
const FOLDERS: &str = "mod up;\nmod down;\n";

#[test]
fn a_circle_of_two_is_a_breach() {
    let found = breaches(&[
        ("lib.rs", TWO),
        ("one.rs", "use crate::two::Two;\npub struct One(Two);"),
        ("two.rs", "\n\npub struct Two(Box<super::one::One>);"),
    ]);
    let circle = "one.rs: a circle of modules\n    one.rs:1 uses two.rs\n    two.rs:3 uses one.rs";
    assert_eq!(found, [circle]);
}

#[test]
fn a_circle_of_three_over_folders_is_a_breach() {
    let found = breaches(&[
        ("lib.rs", "mod one;\nmod up;\n"),
        (
            "one.rs",
            "use crate::up::inner::Inner;\npub fn one(_: Inner) {}",
        ),
        ("up.rs", "pub mod inner;\npub mod other;"),
        (
            "up/inner.rs",
            "use super::other;\npub struct Inner(other::Other);",
        ),
        (
            "up/other.rs",
            "pub struct Other;\nfn f() { crate::one::one() }",
        ),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    for edge in [
        "one.rs:1 uses up/inner.rs",
        "up/inner.rs:2 uses up/other.rs",
        "up/other.rs:2 uses one.rs",
    ] {
        assert!(found[0].contains(edge), "{found:?}");
    }
}

#[test]
fn every_circle_is_found_and_none_twice() {
    let found = breaches(&[
        ("lib.rs", "mod one; mod two; mod three; mod four;"),
        ("one.rs", "use crate::two::b; pub fn a() {}"),
        ("two.rs", "use crate::one::a; pub fn b() {}"),
        ("three.rs", "use crate::four::d; pub fn c() {}"),
        ("four.rs", "use crate::{one::a, three::c}; pub fn d() {}"),
    ]);
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn an_arrow_up_between_folders_is_a_breach() {
    let up = ("up.rs", "pub mod a;");
    let down = ("down.rs", "pub mod b;");
    let found = breaches(&[
        ("lib.rs", FOLDERS),
        up,
        ("up/a.rs", "pub struct A;"),
        down,
        ("down/b.rs", "use crate::up::a::A;\npub struct B(A);"),
    ]);
    let arrow = "lib.rs: an arrow up: `down` uses `up`, which is declared above it\n    \
                 down/b.rs:1 uses up/a.rs";
    assert_eq!(found, [arrow]);
    let found = breaches(&[
        ("lib.rs", FOLDERS),
        up,
        ("up/a.rs", "use crate::down::b::B;\npub struct A(B);"),
        down,
        ("down/b.rs", "pub struct B;"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn single_files_have_no_order() {
    let found = breaches(&[
        ("lib.rs", TWO),
        ("one.rs", "pub struct One;"),
        ("two.rs", "use crate::one::One;\npub struct Two(One);"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn tests_do_not_count() {
    let found = breaches(&[
        ("lib.rs", "mod one;\nmod two;\n#[cfg(test)]\nmod three;"),
        ("one.rs", "use crate::two::Two;\npub struct One(Two);"),
        (
            "two.rs",
            "pub struct Two;\n#[cfg(test)]\nmod tests { use crate::one::One; }",
        ),
        ("three.rs", "use crate::one::One;"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_circle_through_a_reexport_is_a_breach() {
    for import in [
        "use crate::One;",
        "use crate::up::One;",
        "use crate::up::{self};\ntype T = up::One;",
        "use crate::up as other;\ntype T = other::One;",
        "use crate::*;\ntype T = One;",
    ] {
        let found = breaches(&[
            ("lib.rs", "mod up;\nmod two;\npub use up::One;"),
            ("up.rs", "mod one;\npub use one::One;"),
            ("up/one.rs", "use crate::two::Two;\npub struct One(Two);"),
            ("two.rs", &format!("{import}\npub struct Two;")),
        ]);
        assert_eq!(found.len(), 1, "{import}: {found:?}");
        assert!(found[0].contains("uses up/one.rs"), "{import}: {found:?}");
    }
}

#[test]
fn a_parent_that_only_passes_on_is_in_no_circle() {
    let child = ("up/one.rs", "use super::Shared;\npub struct One(Shared);");
    let lib = ("lib.rs", "mod up;");
    let found = breaches(&[
        lib,
        ("up.rs", "mod one;\npub use one::One;\npub struct Shared;"),
        child,
    ]);
    assert_eq!(found, [""; 0]);
    let used = "mod one;\npub use one::One;\npub struct Shared;\nfn f(_: One) {}";
    let found = breaches(&[lib, ("up.rs", used), child]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("up.rs:4 uses up/one.rs"), "{found:?}");
}

#[test]
fn what_a_parent_imports_leads_to_where_it_is_defined() {
    let found = breaches(&[
        ("lib.rs", "mod up;"),
        (
            "up.rs",
            "mod one;\nmod two;\nuse two::Two;\nfn f(_: Two) {}",
        ),
        ("up/one.rs", "use super::Two;\npub struct One(Two);"),
        ("up/two.rs", "pub struct Two;"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn comments_strings_and_other_crates_do_not_count() {
    let found = breaches(&[
        ("lib.rs", TWO),
        ("one.rs", "use crate::two::Two;\npub struct One(Two);"),
        (
            "two.rs",
            "//! See crate::one::One.\n/* crate::one::One */\nuse ::one::One;\nuse std::one;\n\
             pub struct Two;\nconst T: &str = \"crate::one::One\";\npub(in crate::one) fn f() {}",
        ),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn nested_trees_over_several_lines_are_read() {
    let found = breaches(&[
        ("lib.rs", TWO),
        ("one.rs", "use crate::two::Two;\npub struct One(Two);"),
        (
            "two.rs",
            "use crate::{\n    self as root,\n    one::{\n        One as _,\n    },\n};\npub struct Two;",
        ),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("two.rs:4 uses one.rs"), "{found:?}");
}

#[test]
fn a_function_with_the_name_of_its_module_is_found() {
    let found = breaches(&[
        ("lib.rs", "mod one;\nmod two;\npub use one::one;"),
        ("one.rs", "use crate::two::Two;\npub fn one(_: Two) {}"),
        ("two.rs", "pub struct Two;\nfn f() { crate::one(Two) }"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn modules_between_braces_belong_to_their_file() {
    let found = breaches(&[
        ("lib.rs", TWO),
        (
            "one.rs",
            "mod inner { use super::super::two::Two; pub struct One(super::X, Two); } struct X;",
        ),
        ("two.rs", "pub struct Two(crate::one::inner::One);"),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
}
