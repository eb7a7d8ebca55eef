//! `--version`, and with `--verbose` the facts of this build.

use std::env::consts::{ARCH, OS};

/// Commit that the build was given in the variable SHIFTGATE_COMMIT. A build without it, such as one from a registry,
/// does not know its commit; nothing asks git, so that a build without git works.
const COMMIT: Option<&str> = option_env!("SHIFTGATE_COMMIT");

/// Returns one line, or the facts of this build, one a line.
pub(super) fn text(verbose: bool) -> String {
    let version = concat!("shiftgate ", env!("CARGO_PKG_VERSION"));
    if !verbose {
        return version.to_owned();
    }
    let commit =
        COMMIT.filter(|commit| !commit.is_empty()).unwrap_or("unknown: the build was not given SHIFTGATE_COMMIT");
    let features = if cfg!(feature = "otlp") { "otlp" } else { "none" };
    let profile = if cfg!(debug_assertions) { "debug" } else { "optimized" };
    format!(
        "{version}\ncommit: {commit}\ntarget: {}\nfeatures: {features}\nbuild: {profile}\nTLS: rustls with aws-lc-rs",
        target()
    )
}

/// Returns the target's triple, as far as the language knows it.
fn target() -> String {
    let vendor = if cfg!(target_vendor = "apple") { "apple" } else { "unknown" };
    let system = if OS == "macos" { "darwin" } else { OS };
    let library = if cfg!(target_env = "gnu") {
        "-gnu"
    } else if cfg!(target_env = "musl") {
        "-musl"
    } else {
        ""
    };
    format!("{ARCH}-{vendor}-{system}{library}")
}
