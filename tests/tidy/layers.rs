//! Which crate may depend on which.

use serde_json::Value;

/// What each crate of the workspace may import from the workspace, for any purpose: an edge that
/// only tests use is an edge.
const EDGES: &[(&str, &[&str])] = &[
    ("netabase-store", &[]),
    ("netabase-sql", &["netabase-store"]),
    ("netabase-distributed", &["netabase-sql", "netabase-store"]),
    ("netabase-macros", &[]),
    (
        "netabase",
        &[
            "netabase-distributed",
            "netabase-macros",
            "netabase-sql",
            "netabase-store",
        ],
    ),
    ("netabase-console", &["netabase"]),
    ("netabase-c", &["netabase"]),
    ("netabase-python", &["netabase"]),
    // A benchmark of one layer must not pay for those above it.
    ("netabase-benches", &["netabase", "netabase-store"]),
];

/// Foreign crates that are what a layer is about, and the layers that may name them. The longest
/// matching prefix counts.
const OWNED: &[(&str, &[&str])] = &[
    ("sled", &["netabase-store", "netabase-benches"]),
    (
        "datafusion",
        &[
            "netabase-sql",
            "netabase-distributed",
            "netabase",
            "netabase-benches",
        ],
    ),
    ("datafusion-distributed", &["netabase-distributed"]),
    ("libp2p", &["netabase-distributed"]),
    ("tonic", &["netabase-distributed"]),
    ("hyper", &["netabase-distributed"]),
    ("pyo3", &["netabase-python"]),
    ("syn", &["netabase-macros"]),
    ("trybuild", &["netabase-macros"]),
];

/// One crate of the workspace, as `cargo metadata` describes it.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Names of everything its manifest names, in all three sections.
    pub(crate) dependencies: Vec<String>,
    /// Source paths of its libraries and binaries.
    pub(crate) roots: Vec<String>,
}

/// Reads the output of `cargo metadata --no-deps`.
pub(crate) fn packages(metadata: &Value) -> Vec<Package> {
    let strings = |list: &Value, key: &str| -> Vec<String> {
        let items = list.as_array().into_iter().flatten();
        items
            .filter_map(|item| item[key].as_str().map(str::to_owned))
            .collect()
    };
    let delivered = |target: &&Value| {
        let kinds = target["kind"].as_array().into_iter().flatten();
        kinds.filter_map(Value::as_str).any(|kind| {
            matches!(
                kind,
                "lib" | "rlib" | "cdylib" | "staticlib" | "proc-macro" | "bin"
            )
        })
    };
    let package = |package: &Value| Package {
        name: package["name"].as_str().unwrap().to_owned(),
        dependencies: strings(&package["dependencies"], "name"),
        roots: package["targets"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(delivered)
            .filter_map(|target| target["src_path"].as_str().map(str::to_owned))
            .collect(),
    };
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(package)
        .collect()
}

/// The edges of one crate that the architecture does not have.
pub(crate) fn violations(package: &Package) -> Vec<String> {
    let name = package.name.as_str();
    let Some((_, allowed)) = EDGES.iter().find(|(layer, _)| *layer == name) else {
        return vec![format!("{name}: has no place among the layers")];
    };
    let inside = |dependency: &str| EDGES.iter().any(|(layer, _)| *layer == dependency);
    package
        .dependencies
        .iter()
        .filter(|dependency| match inside(dependency) {
            true => !allowed.contains(&dependency.as_str()),
            false => owners(dependency).is_some_and(|owners| !owners.contains(&name)),
        })
        .map(|dependency| format!("{name} -> {dependency}: not an edge of the architecture"))
        .collect()
}

/// The layers that may import a foreign crate, when it belongs to some.
fn owners(dependency: &str) -> Option<&'static [&'static str]> {
    let matches = |prefix: &str| {
        dependency
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    OWNED
        .iter()
        .filter(|(prefix, _)| matches(prefix))
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, layers)| *layers)
}

fn package(name: &str, dependencies: &[&str]) -> Package {
    Package {
        name: name.to_owned(),
        dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
        roots: Vec::new(),
    }
}

#[test]
fn downward_edges_pass() {
    assert!(violations(&package("netabase-store", &["arrow", "sled"])).is_empty());
    assert!(
        violations(&package(
            "netabase-distributed",
            &["netabase-sql", "libp2p"]
        ))
        .is_empty()
    );
    let foreign = ["netabase", "netabase-store", "datafusion", "sled"];
    assert!(violations(&package("netabase-benches", &foreign)).is_empty());
}

#[test]
fn upward_and_sideways_edges_fail() {
    for (name, dependency) in [
        ("netabase-store", "netabase-sql"),
        ("netabase-sql", "netabase-distributed"),
        ("netabase-console", "netabase-sql"),
        ("netabase-c", "netabase-console"),
        ("netabase", "netabase-benches"),
        ("netabase-sql", "netabase-macros"),
        ("netabase-macros", "netabase-store"),
        ("netabase-benches", "netabase-sql"),
    ] {
        let found = violations(&package(name, &["arrow", dependency]));
        assert_eq!(
            found,
            [format!(
                "{name} -> {dependency}: not an edge of the architecture"
            )]
        );
    }
}

#[test]
fn foreign_crates_stay_in_their_layer() {
    for (name, dependency) in [
        ("netabase-store", "datafusion-common"),
        ("netabase-sql", "libp2p-stream"),
        ("netabase-sql", "datafusion-distributed"),
        ("netabase-sql", "sled"),
        ("netabase-console", "datafusion"),
    ] {
        assert_eq!(
            violations(&package(name, &[dependency])).len(),
            1,
            "{name} -> {dependency}"
        );
    }
    assert!(owners("sledgehammer").is_none());
}

#[test]
fn a_crate_that_nobody_placed_fails() {
    assert_eq!(violations(&package("netabase-server", &[])).len(), 1);
}

#[test]
fn metadata_lists_every_section_and_root() {
    let metadata = serde_json::json!({ "packages": [{
        "name": "a",
        "dependencies": [{ "name": "b", "kind": null }, { "name": "c", "kind": "dev" }],
        "targets": [
            { "kind": ["cdylib", "staticlib"], "src_path": "a/lib.rs" },
            { "kind": ["bin"], "src_path": "a/main.rs" },
            { "kind": ["test"], "src_path": "a/tests/t.rs" },
        ],
    }] });
    let packages = packages(&metadata);
    assert_eq!(packages.len(), 1);
    assert_eq!(packages[0].dependencies, ["b", "c"]);
    assert_eq!(packages[0].roots, ["a/lib.rs", "a/main.rs"]);
}
