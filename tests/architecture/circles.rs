//! Import circles among the files of one room.
//!
//! A file imports another if its shipped code names a path into it. `mod x;` alone is not an import. An item that is
//! reached through its parent (`super::Item`) is an import of the parent, also where the parent only re-exports it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::scanner::Source;
use crate::{assert_none, sources};

type Module = Vec<String>;
type Imports = BTreeMap<Module, BTreeSet<Module>>;

/// Returns the imports of each file of `room`.
fn imports(sources: &[Source], room: &str) -> Imports {
    let owned = |names: Vec<&str>| -> Module { names.into_iter().map(str::to_owned).collect() };
    let shipped = sources.iter().filter(|source| source.module()[0] == room && !source.parts().0.is_empty());
    let files: BTreeMap<Module, &Source> = shipped.map(|source| (owned(source.module()), source)).collect();
    let of = |module: &Module, source: &Source| {
        let mut imported = BTreeSet::new();
        for path in source.paths(source.parts().0) {
            let file =
                (1..=path.names.len()).rev().map(|end| &path.names[..end]).find(|names| files.contains_key(*names));
            // A relative path that ends at this file or above named a type or another crate, not a module of ours.
            let file = file.filter(|file| path.is_anchored || file.len() > module.len());
            imported.extend(file.filter(|file| file != module).map(<[String]>::to_vec));
        }
        imported
    };
    files.iter().map(|(module, source)| (module.clone(), of(module, source))).collect()
}

/// Returns, for every import that is part of a circle, the shortest circle through it; each circle once.
fn circles(imports: &Imports) -> Vec<String> {
    let mut found = BTreeSet::new();
    for (from, imported) in imports {
        for to in imported {
            if let Some(way_back) = shortest(imports, to, from) {
                found.insert(from_its_first(way_back));
            }
        }
    }
    found.iter().map(|circle| told(circle)).collect()
}

fn shortest<'a>(imports: &'a Imports, from: &'a Module, to: &'a Module) -> Option<Vec<&'a Module>> {
    let mut came_from: BTreeMap<&Module, Option<&Module>> = BTreeMap::from([(from, None)]);
    let mut next = VecDeque::from([from]);
    while let Some(at) = next.pop_front() {
        if at == to {
            let mut way: Vec<&Module> = std::iter::successors(Some(at), |at| came_from[*at]).collect();
            way.reverse();
            return Some(way);
        }
        for imported in &imports[at] {
            if !came_from.contains_key(imported) {
                came_from.insert(imported, Some(at));
                next.push_back(imported);
            }
        }
    }
    None
}

/// Rotates the circle so that it begins at the file that sorts first.
fn from_its_first(mut circle: Vec<&Module>) -> Vec<&Module> {
    let first = (0..circle.len()).min_by_key(|at| circle[*at]).unwrap_or_default();
    circle.rotate_left(first);
    circle
}

/// Formats as `proxy: answer -> record -> answer`; the room's own file is `mod`.
fn told(circle: &[&Module]) -> String {
    let name = |module: &&Module| match &module[1..] {
        [] => "mod".to_owned(),
        names => names.join("::"),
    };
    let names: Vec<String> = circle.iter().chain(circle.first()).map(name).collect();
    format!("{}: {}", circle[0][0], names.join(" -> "))
}

#[test]
fn no_import_circle_inside_a_room() {
    let sources = sources();
    let rooms: BTreeSet<&str> = sources.iter().map(|source| source.module()[0]).collect();
    let wrong: Vec<String> = rooms.into_iter().flat_map(|room| circles(&imports(&sources, room))).collect();
    assert_none(&wrong);
}

#[track_caller]
fn assert_circles(files: &[(&str, &str)], expected: &[&str]) {
    let source = |(path, text): &(&str, &str)| Source { path: path.into(), text: (*text).to_owned() };
    let sources: Vec<Source> = files.iter().map(source).collect();
    assert_eq!(circles(&imports(&sources, "a")), expected, "in {files:?}");
}

#[test]
fn every_way_to_import_closes_a_circle() {
    const BACK: (&str, &str) = ("src/a/c.rs", "use super::b::X;");
    for text in [
        "use super::c::Y;",
        "use super::{d, c};",
        "use super::super::a::c;",
        "use crate::a::{c::{self, Y}};",
        "fn f() { super::c::g(); }",
        "fn f(y: crate::a::c::Y) {}",
        "mod inline { use super::super::c; }",
        "#[cfg(feature = \"x\")]\nuse super::c;",
    ] {
        assert_circles(&[("src/a/b.rs", text), BACK], &["a: b -> c -> b"]);
    }
}

#[test]
fn a_room_and_its_files_make_circles_too() {
    let child = ("src/a/b.rs", "use super::Shared;");
    for parent in ["mod b; pub use b::X;", "mod b; fn f() { b::g() }", "mod b; use self::b::X;", "use crate::a::b;"] {
        assert_circles(&[("src/a/mod.rs", parent), child], &["a: mod -> b -> mod"]);
        assert_circles(&[("src/a.rs", parent), child], &["a: mod -> b -> mod"]);
    }
    assert_circles(
        &[("src/a/mod.rs", "mod b; pub use b::X;"), ("src/a/b.rs", "use super::*;")],
        &["a: mod -> b -> mod"],
    );
    // A sibling reached through the parent's re-export.
    let through = [
        ("src/a/mod.rs", "mod b; mod c; pub use c::Y;"),
        ("src/a/b.rs", "use super::Y;"),
        ("src/a/c.rs", "use super::b;"),
    ];
    assert_circles(&through, &["a: mod -> c -> b -> mod"]);
    let deeper = [("src/a/b.rs", "mod c; fn f() { c::g() }"), ("src/a/b/c.rs", "use super::X;")];
    assert_circles(&deeper, &["a: b -> b::c -> b"]);
}

#[test]
fn each_circle_is_told_once_from_its_first_file() {
    let three = [("src/a/z.rs", "use super::y;"), ("src/a/y.rs", "use super::x;"), ("src/a/x.rs", "use super::z;")];
    assert_circles(&three, &["a: x -> z -> y -> x"]);
    let two = [("src/a/x.rs", "use super::{y, z};"), ("src/a/y.rs", "use super::x;"), ("src/a/z.rs", "use super::x;")];
    assert_circles(&two, &["a: x -> y -> x", "a: x -> z -> x"]);
}

#[test]
fn what_is_no_circle_passes() {
    let leaf = ("src/a/c.rs", "use std::fmt; use crate::b::X; fn f() { Self::g(); Kind::Y; }");
    for (parent, child) in [
        ("mod b; mod c;", "use super::Shared; use super::c;"),
        ("pub(crate) mod b; mod c; pub use c::X;", "use super::X;"),
        ("mod b; mod c; pub use b::X; pub use c::Y;", "use super::c::Y; pub(in super::super) fn f() {}"),
        ("mod b; mod c; use b::X;", "#[cfg(test)]\nmod tests {\n    use super::super::Shared;\n}"),
        ("mod b; mod c; use b::X;", "// use super::Shared;\nconst S: &str = \"super::Shared\"; fn f(c: u8) { c.b(); }"),
        ("mod b; mod c; use b::X;", "mod inline { use super::Own; } fn f() { b::not_a_child_of_b(); }"),
    ] {
        assert_circles(&[("src/a/mod.rs", parent), ("src/a/b.rs", child), leaf], &[]);
    }
    let tests = [("src/a/mod.rs", "#[cfg(test)]\nmod tests;\npub struct X;"), ("src/a/tests.rs", "use super::X;")];
    assert_circles(&tests, &[]);
    // A circle through another room is not one of this room.
    assert_circles(&[("src/a/b.rs", "use crate::z::X;"), ("src/z/mod.rs", "use crate::a::b;")], &[]);
}
