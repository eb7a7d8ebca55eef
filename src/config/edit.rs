//! Changes one percent in place and nothing else in the file: the command `shift`.
//!
//! Invariant: the file is replaced as a whole by a valid one, or not touched.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, TableLike, value};

use super::context::Secrets;
use super::load::parse;
use super::problem::ConfigError;
use super::reader::unknown_cure;
use super::types::Config;
use crate::model::{BackendId, Percent};

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shifted {
    /// Name of the route.
    pub route: String,
    /// Name of the candidate.
    pub backend: String,
    /// Percent in the file before the change.
    pub before: Percent,
    /// Percent in the file after the change.
    pub after: Percent,
}

/// Reason why the file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ShiftError {
    /// The file is not valid as it is.
    #[error("{0}")]
    File(#[from] ConfigError),
    /// The name is not that of a candidate.
    #[error("there is no candidate {name:?} in {path}: {cure}")]
    UnknownBackend {
        /// Name as given.
        name: String,
        /// The file's path.
        path: String,
        /// The nearest known name, or all of them.
        cure: String,
    },
    /// The name is not that of a route.
    #[error("there is no route {name:?} in {path}: {cure}")]
    UnknownRoute {
        /// Name as given.
        name: String,
        /// The file's path.
        path: String,
        /// The nearest known name, or all of them.
        cure: String,
    },
    /// The result would not be valid.
    #[error("the file was not changed: the result would be refused:\n{0}")]
    Refused(ConfigError),
    /// The percent is not written as a table that can be edited.
    #[error("{path} cannot be edited here: {cause}")]
    Form {
        /// The file's path.
        path: String,
        /// Description of the obstacle.
        cause: &'static str,
    },
    /// The file is mounted from a ConfigMap or a Secret of Kubernetes, which would undo the change.
    #[error(
        "{path} was not changed: Kubernetes mounts it from a ConfigMap or a Secret. Edit that instead:\n  \
         kubectl edit configmap NAME   # percent of {backend} on route {route}: {before} -> {after}\n  \
         If it is made from a file of a repository, edit that file and apply it. The kubelet brings it here within \
         about a minute, and shiftgate reloads it"
    )]
    Mounted {
        /// The file's path.
        path: String,
        /// Name of the route.
        route: String,
        /// Name of the candidate.
        backend: String,
        /// Percent in the file.
        before: Percent,
        /// Percent that was wanted.
        after: Percent,
    },
    /// The file cannot be replaced.
    #[error("{path} was not changed: it cannot be replaced in place ({cause}). {cure}")]
    Write {
        /// The file's path.
        path: String,
        /// Error of the operating system.
        cause: io::Error,
        /// Advice for this error.
        cure: &'static str,
    },
}

impl ShiftError {
    /// True if the request is at fault, and not the machine.
    pub const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Write { .. })
    }
}

/// Sets a candidate's percent on a route; `None` means the route `default`, that of `[rollout]`.
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
    let table = percent_table(&mut document, &route.name).ok_or_else(|| form("its percent is not a table"))?;
    set(table, backend, percent);
    let edited = document.to_string();
    let next = parse(path, edited.as_bytes(), Secrets::Skip, env).map_err(ShiftError::Refused)?;
    let percent_of = |config: &Config| {
        let route = config.routes.iter().find(|one| one.name == route.name)?;
        route.percent.iter().find(|(one, _)| *one == index).map(|(_, percent)| *percent)
    };
    let before = percent_of(&config).unwrap_or_default();
    let after = percent_of(&next).unwrap_or_default();
    if edited != text && is_from_kubernetes(path) {
        let (route, backend) = (route.name.clone(), backend.to_owned());
        return Err(ShiftError::Mounted { path: shown, route, backend, before, after });
    }
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
    // Keeps the shortest form: 25.0, 2.25.
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

/// Writes a temporary file in the same folder and renames it, so that a reader sees the old text or the new, never a part.
/// A symbolic link is kept; its target is replaced.
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

/// True if the kubelet wrote the file: it lies in a folder whose name begins with two dots, and beside that folder the
/// link `..data` leads to it.
fn is_from_kubernetes(path: &Path) -> bool {
    let Ok(target) = std::fs::canonicalize(path) else { return false };
    target.ancestors().skip(1).any(|folder| {
        let is_dotted = folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
        let data = folder.with_file_name("..data");
        is_dotted && data.is_symlink() && std::fs::canonicalize(data).is_ok_and(|data| data == folder)
    })
}

fn unwritable(path: &str, cause: io::Error) -> ShiftError {
    let cure = match cause.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => {
            "It is mounted: edit its source (the ConfigMap, or the file on the host)"
        }
        io::ErrorKind::PermissionDenied => "Run this as a user who may write to its folder, or edit its source",
        _ => "Free some space or edit it by hand, then save it",
    };
    ShiftError::Write { path: path.to_owned(), cause, cure }
}
