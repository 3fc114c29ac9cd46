//! Each rule finds what is planted for it, and nothing in a tree that keeps it.

use super::allowed::{Allowed, AllowedImport, AllowedLength, AllowedName};
use super::source::SourceFile;
use super::{architecture, broken_rules};

fn broken(files: &[(&str, &str)], allowed: &Allowed) -> Vec<String> {
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| SourceFile::new(path, text))
        .collect();
    broken_rules(&files, allowed)
}

fn broken_without_exceptions(files: &[(&str, &str)]) -> Vec<String> {
    broken(files, &Allowed::default())
}

#[test]
fn a_tree_in_order_breaks_no_rule() {
    let files = [
        (
            "a/src/lib.rs",
            "mod room;\nmod user;\npub use room::Thing;\n",
        ),
        (
            "a/src/room/mod.rs",
            "mod inner;\nmod lock;\nmod thing;\npub(crate) use lock::lock;\npub(crate) use thing::Thing;\n",
        ),
        ("a/src/room/lock.rs", "pub(crate) fn lock() {}\n"),
        (
            "a/src/room/thing.rs",
            "use super::inner::Inner;\npub struct Thing(Inner);\n",
        ),
        ("a/src/room/inner.rs", "pub(super) struct Inner;\n"),
        (
            "a/src/user.rs",
            "use crate::room::{Thing, lock};\nfn of(thing: crate::Thing) {}\n",
        ),
    ];
    assert_eq!(broken_without_exceptions(&files), Vec::<String>::new());
}

#[test]
fn two_files_that_import_each_other_are_found() {
    let files = [
        ("a/src/lib.rs", "mod one;\nmod two;\n"),
        ("a/src/one.rs", "use crate::two::Two;\n"),
        (
            "a/src/two.rs",
            "use std::fmt;\n\nuse super::one::{One, Other as Name};\n",
        ),
    ];
    assert_eq!(
        broken_without_exceptions(&files),
        ["a circle of imports: a/src/one.rs -> a/src/two.rs -> a/src/one.rs"]
    );
}

#[test]
fn a_circle_through_a_room_and_a_path_in_code_is_found() {
    let files = [
        ("a/src/lib.rs", "mod room;\nmod two;\npub use two::Two;\n"),
        (
            "a/src/room/mod.rs",
            "mod deep;\nmod one;\npub(crate) use deep::*;\npub use one::One;\n",
        ),
        ("a/src/room/one.rs", "fn run() { crate::Two::run(); }\n"),
        ("a/src/room/deep.rs", "use super::one::One;\n"),
        (
            "a/src/two.rs",
            "use crate::room;\nfn run() { room::run_deep(); }\n",
        ),
    ];
    assert_eq!(
        broken_without_exceptions(&files),
        [
            "a circle of imports: a/src/room/one.rs -> a/src/two.rs -> a/src/room/deep.rs -> a/src/room/one.rs"
        ]
    );
}

#[test]
fn a_file_and_its_inner_file_can_be_a_circle() {
    let files = [
        ("a/src/lib.rs", "mod one;\n"),
        ("a/src/one.rs", "mod two;\nstruct One(two::Two);\n"),
        ("a/src/one/two.rs", "fn of(one: super::One) {}\n"),
    ];
    assert_eq!(
        broken_without_exceptions(&files),
        ["a circle of imports: a/src/one.rs -> a/src/one/two.rs -> a/src/one.rs"]
    );
}

#[test]
fn comments_strings_and_tests_import_nothing() {
    let text = r##"
        //! As in `crate::two::Two`.
        /* crate::two::Two */
        const TEXT: &str = "crate::two::Two \" crate::two::Two";
        const RAW: &[u8] = br#"crate::two::Two "crate::two::Two""#;
        const QUOTE: [char; 2] = ['"', '\''];
        #[cfg(all(test, not(loom)))]
        mod checks {
            fn brace() -> char { '}' }
            use crate::two::Two;
        }
        #[cfg(test)]
        mod more;
    "##;
    let files = [
        ("a/src/lib.rs", "mod one;\nmod two;\n"),
        ("a/src/one.rs", text),
        ("a/src/one/more.rs", "use crate::two::Two;\n"),
        ("a/src/two.rs", "use crate::one::One;\n"),
    ];
    assert_eq!(broken_without_exceptions(&files), Vec::<String>::new());
    let later = [text, "use crate::two::Two;\n"].concat();
    let files = [files[0], ("a/src/one.rs", &later), files[2], files[3]];
    assert_eq!(broken_without_exceptions(&files).len(), 1);
}

#[test]
fn an_allowed_circle_is_none_and_a_useless_allowance_is_found() {
    const ALLOWED: Allowed = Allowed {
        circles: &[AllowedImport {
            from: "a/src/one.rs",
            to: "a/src/two.rs",
            reason: "planted",
        }],
        names: &[],
        lengths: &[],
    };
    let [lib, one, two, three] = [
        ("a/src/lib.rs", "mod one;\nmod two;\nmod three;\n"),
        ("a/src/one.rs", "use crate::two::Two;\n"),
        ("a/src/two.rs", "use crate::one::One;\n"),
        ("a/src/three.rs", "use crate::{one::One, two};\n"),
    ];
    assert_eq!(
        broken(&[lib, one, two, three], &ALLOWED),
        Vec::<String>::new()
    );
    assert_eq!(
        broken(&[lib, one, ("a/src/two.rs", ""), three], &ALLOWED),
        ["an allowance that nothing needs: a/src/one.rs may import a/src/two.rs (planted)"]
    );
}

#[test]
fn an_import_past_the_entrance_of_a_room_is_found() {
    let files = [
        ("a/src/lib.rs", "mod room;\nmod user;\n"),
        (
            "a/src/room/mod.rs",
            "mod inner;\npub(crate) use inner::Inner;\n",
        ),
        ("a/src/room/inner.rs", "pub(crate) struct Inner;\n"),
        ("a/src/user.rs", "use crate::room::{self, inner::Inner};\n"),
    ];
    assert_eq!(
        broken_without_exceptions(&files),
        ["a/src/user.rs reaches into the room `room`: \
             a/src/room/inner.rs is seen from outside only by what the room re-exports"]
    );
}

#[test]
fn two_files_of_one_name_are_found_unless_they_are_parallel() {
    const ALLOWED: Allowed = Allowed {
        circles: &[],
        names: &[AllowedName {
            name: "part",
            folders: &["a/src/one", "a/src/two"],
            reason: "planted",
        }],
        lengths: &[],
    };
    let [lib, one, two, three] = [
        ("a/src/lib.rs", "#[cfg(test)]\nmod tests;"),
        ("a/src/one/part.rs", ""),
        ("a/src/two/part.rs", ""),
        ("a/src/part.rs", ""),
    ];
    let other_crate = ("b/src/part.rs", "");
    let test = ("a/src/tests/part.rs", "");
    assert_eq!(
        broken_without_exceptions(&[lib, one, two, other_crate, test]),
        ["one name for several files: part.rs in a/src/one, a/src/two"]
    );
    assert_eq!(
        broken(&[lib, one, two, other_crate, test], &ALLOWED),
        Vec::<String>::new()
    );
    assert_eq!(
        broken(&[lib, one, two, three], &ALLOWED),
        [
            "one name for several files: part.rs in a/src/one, a/src/two, a/src",
            "an allowance that nothing needs: part.rs in a/src/one, a/src/two (planted)",
        ]
    );
}

#[test]
fn a_file_of_more_than_600_lines_needs_a_reason() {
    const ALLOWED: Allowed = Allowed {
        circles: &[],
        names: &[],
        lengths: &[AllowedLength {
            path: "a/tests/long.rs",
            reason: "planted",
        }],
    };
    let (comfortable, long) = ("\n".repeat(600), "\n".repeat(601));
    let files = [("a/tests/long.rs", long.as_str())];
    assert_eq!(
        broken_without_exceptions(&files),
        ["a/tests/long.rs has 601 lines, more than 600"]
    );
    assert_eq!(broken(&files, &ALLOWED), Vec::<String>::new());
    let files = [("a/tests/long.rs", comfortable.as_str())];
    assert_eq!(broken_without_exceptions(&files), Vec::<String>::new());
    assert_eq!(
        broken(&files, &ALLOWED),
        ["an allowance that nothing needs: a/tests/long.rs may be long (planted)"]
    );
}

#[test]
fn an_example_must_have_code() {
    let shows =
        "/// Does.\n///\n/// # Examples\n///\n/// ```\n/// does();\n/// ```\npub fn does() {}\n";
    let stub =
        "/// Does.\n///\n/// # Examples\n///\n/// See [`other`].\n#[must_use]\npub fn does() {}\n";
    let before_errors =
        "//! # Example\n//!\n//! See elsewhere.\n//!\n//! # Errors\n//!\n//! ```\n//! ```\n";
    let files = [
        ("a/src/lib.rs", shows),
        ("a/src/stub.rs", stub),
        ("a/src/early.rs", before_errors),
    ];
    assert_eq!(
        broken_without_exceptions(&files),
        [
            "a/src/stub.rs:3: an example without code",
            "a/src/early.rs:1: an example without code"
        ]
    );
}

#[test]
fn a_name_in_the_architecture_without_a_file_is_found() {
    let page = "Names `nowhere/at_all` outside of tables.\n\n\
        | question | where in `a/src` |\n|---|---|\n\
        | Which `word`? | `one`, `room/two` (`item`); three: `three` |\n\n\
        | question | where |\n|---|---|\n| Which? | `docs/page.md`, `docs/gone.md`, `word` |\n";
    let files = ["a/src/one.rs", "a/src/room/two.rs", "docs/page.md"];
    assert_eq!(
        architecture::check(page, |path| files.contains(&path)),
        [
            "ARCHITECTURE.md names a/src/three, which is not there",
            "ARCHITECTURE.md names docs/gone.md, which is not there",
        ]
    );
}

#[test]
fn public_items_are_counted_and_what_looks_like_one_is_not() {
    let text = "pub struct Shown { pub field: u32 }\n\
        impl Shown {\n    pub const fn new() -> Self {}\n    pub(crate) fn hidden() {}\n}\n\
        pub const MAX: usize = 1;\n// pub fn in_a_comment() {}\npub use other::Thing;\n\
        #[cfg(test)]\nmod tests {\n    pub fn helper() {}\n}\n";
    let files = [
        SourceFile::new("a/src/lib.rs", text),
        SourceFile::new("a/src/bin/b.rs", text),
    ];
    let items = super::PublicItems::of(&files);
    assert_eq!(items.count("a"), 3, "{items}");
    assert!(items.to_string().ends_with("public items of a: 3\n"));
}

#[test]
fn an_item_for_each_system_counts_once_and_one_in_a_private_module_not_at_all() {
    let unix = "pub type Pipe = Fd;\nimpl Child {\n    pub const fn end(&self) {}\n}\n\
        impl Parent {\n    pub fn end(&self) {}\n}\nmod sealed {\n    pub trait Sealed {}\n}\n";
    let windows = "pub type Pipe = Handle;\nimpl Child {\n    pub fn end(&mut self) {}\n}\n";
    let files = [
        SourceFile::new("a/src/sys/unix.rs", unix),
        SourceFile::new("a/src/sys/windows/pipes.rs", windows),
        SourceFile::new("a/src/other.rs", "pub type Pipe = Vec<u8>;\n"),
    ];
    let items = super::PublicItems::of(&files);
    assert_eq!(items.count("a"), 4, "{items}");
}
