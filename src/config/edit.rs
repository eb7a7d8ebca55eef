//! `shift`: one percent changed in place, everything else of the file as it was.
//!
//! Invariant: the file is replaced whole by a valid one, or not touched.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, TableLike, value};

use super::load::{Secrets, parse};
use super::problem::ConfigError;
use super::reader::unknown_cure;
use super::types::Config;
use crate::model::{BackendId, Percent};

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shifted {
    pub route: String,
    pub backend: String,
    pub before: Percent,
    pub after: Percent,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ShiftError {
    #[error("{0}")]
    File(#[from] ConfigError),
    #[error("there is no candidate {name:?} in {path}: {cure}")]
    UnknownBackend { name: String, path: String, cure: String },
    #[error("there is no route {name:?} in {path}: {cure}")]
    UnknownRoute { name: String, path: String, cure: String },
    #[error("nothing was changed, the result would be refused:\n{0}")]
    Refused(ConfigError),
    #[error("{path} cannot be edited here: {cause}")]
    Form { path: String, cause: &'static str },
    #[error("{path} was not changed: it cannot be replaced in place ({cause}). {cure}")]
    Write { path: String, cause: io::Error, cure: &'static str },
}

impl ShiftError {
    /// Whether what was asked for is wrong, and not the machine.
    pub const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Write { .. })
    }
}

/// Sets a candidate's percent on a route (`None`: `[rollout]`'s).
pub fn shift(
    path: &Path,
    backend: &str,
    percent: Percent,
    route: Option<&str>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Shifted, ShiftError> {
    let text = std::fs::read(path).map_err(|error| ConfigError::unreadable(path, &error))?;
    let config = parse(path, &text, Secrets::Skip, env)?;
    let shown = path.display().to_string();
    let (route, index) = find(&config, backend, route.unwrap_or("default"), &shown)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let form = |cause| ShiftError::Form { path: shown.clone(), cause };
    let mut document: DocumentMut = text.trim_start_matches('\u{feff}').parse().map_err(|_| form("it is not TOML"))?;
    let table = percent_table(&mut document, &route.name).ok_or_else(|| form("its percent is no table"))?;
    set(table, backend, percent);
    let edited = document.to_string();
    let next = parse(path, edited.as_bytes(), Secrets::Skip, env).map_err(ShiftError::Refused)?;
    let percent_of = |config: &Config| {
        let route = config.routes.iter().find(|one| one.name == route.name)?;
        route.percent.iter().find(|(one, _)| *one == index).map(|(_, percent)| *percent)
    };
    let before = percent_of(&config).unwrap_or_default();
    let after = percent_of(&next).unwrap_or_default();
    if edited != text {
        replace(path, edited.as_bytes()).map_err(|cause| unwritable(&shown, cause))?;
    }
    Ok(Shifted { route: route.name.clone(), backend: backend.to_owned(), before, after })
}

fn find<'c>(
    config: &'c Config,
    backend: &str,
    route: &str,
    path: &str,
) -> Result<(&'c super::types::Route, BackendId), ShiftError> {
    let routes = config.routes.iter();
    let found = routes.clone().find(|one| one.name == route).ok_or_else(|| ShiftError::UnknownRoute {
        name: route.to_owned(),
        path: path.to_owned(),
        cure: unknown_cure(route, routes.map(|one| one.name.as_str())),
    })?;
    let candidates = config.backends_with_ids().filter(|(id, _)| *id != config.baseline);
    let index = candidates.clone().find(|(_, one)| one.name == backend).map(|(index, _)| index);
    let index = index.ok_or_else(|| ShiftError::UnknownBackend {
        name: backend.to_owned(),
        path: path.to_owned(),
        cure: unknown_cure(backend, candidates.map(|(_, one)| one.name.as_str())),
    })?;
    Ok((found, index))
}

fn percent_table<'d>(document: &'d mut DocumentMut, route: &str) -> Option<&'d mut dyn TableLike> {
    let owner: &mut dyn TableLike = if route == "default" {
        document.get_mut("rollout")?.as_table_like_mut()?
    } else {
        let named = |table: &dyn TableLike| table.get("name").and_then(Item::as_str) == Some(route);
        match document.get_mut("route")? {
            Item::ArrayOfTables(routes) => routes.iter_mut().find(|table| named(*table))? as &mut dyn TableLike,
            Item::Value(routes) => routes
                .as_array_mut()?
                .iter_mut()
                .filter_map(|one| one.as_inline_table_mut())
                .find(|table| named(*table))? as &mut dyn TableLike,
            _ => return None,
        }
    };
    owner.get_mut("percent")?.as_table_like_mut()
}

fn set(table: &mut dyn TableLike, backend: &str, percent: Percent) {
    let mut number = toml_edit::Formatted::new(percent.as_f64());
    // "25.0" and "2.25", as a person writes them.
    if let Ok(repr) = format!("{:?}", percent.as_f64()).parse::<toml_edit::Value>()
        && let Some(float) = repr.as_float()
    {
        number = toml_edit::Formatted::new(float);
    }
    match table.get_mut(backend).and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = toml_edit::Value::Float(number);
            *old.decor_mut() = decor;
        }
        None => {
            table.insert(backend, value(toml_edit::Value::Float(number)));
        }
    }
}

/// Writes beside the file and renames over it: a reader sees the old text or the new, never half of one. A link stays a
/// link; what it points to is replaced.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let target: PathBuf = std::fs::canonicalize(path)?;
    let folder = target.parent().unwrap_or_else(|| Path::new("/"));
    let mut written = tempfile::Builder::new().prefix(".shiftgate-").tempfile_in(folder)?;
    written.write_all(text)?;
    let before = std::fs::metadata(&target)?;
    written.as_file().set_permissions(before.permissions())?;
    {
        use std::os::unix::fs::MetadataExt;
        let now = written.as_file().metadata()?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            std::os::unix::fs::fchown(written.as_file(), Some(before.uid()), Some(before.gid()))?;
        }
    }
    written.as_file().sync_all()?;
    written.persist(&target).map_err(|error| error.error)?;
    Ok(())
}

fn unwritable(path: &str, cause: io::Error) -> ShiftError {
    let cure = match cause.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => {
            "It is mounted: edit it where it comes from (the ConfigMap, or the file on the host)"
        }
        io::ErrorKind::PermissionDenied => {
            "Run this as a user who may write to its folder, or edit it where it comes from"
        }
        _ => "Free some space or edit it by hand, then save it",
    };
    ShiftError::Write { path: path.to_owned(), cause, cure }
}
