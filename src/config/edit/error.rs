//! Reasons why the file was not changed.

use std::io;

use super::super::problem::ConfigError;

/// Reason why the file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
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
    /// The file has no `[guard]`, so that nothing is withdrawn.
    #[error("no [guard] in {path}: nothing to lift")]
    NoGuard {
        /// The file's path.
        path: String,
    },
    /// The last change cannot be taken back.
    #[error("{path} was not changed: {cause}. {cure}")]
    NotUndone {
        /// The file's path.
        path: String,
        /// Description of the obstacle.
        cause: String,
        /// Advice for it.
        cure: String,
    },
    /// The result would not be valid.
    #[error("the file was not changed: the result would be refused:\n{0}")]
    Refused(ConfigError),
    /// The value is not written in a form that can be edited.
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
         kubectl edit configmap NAME   # {change}\n  \
         If it is made from a file of a repository, edit that file and apply it. The kubelet brings it here within \
         about a minute, and shiftgate reloads it"
    )]
    Mounted {
        /// The file's path.
        path: String,
        /// The change that was wanted, in words.
        change: String,
    },
    /// Somebody else saved the file each time it was about to be replaced.
    #[error("{path} was not changed: somebody else keeps saving it. Run the command again when that has ended")]
    Contended {
        /// The file's path.
        path: String,
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

impl EditError {
    /// True if the request is at fault, and not the machine.
    pub const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Write { .. } | Self::Contended { .. })
    }

    /// Makes the error of a file that cannot be replaced, with advice by its cause.
    pub(super) fn unwritable(path: &str, cause: io::Error) -> Self {
        let cure = match cause.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => {
                "It is mounted: edit its source (the ConfigMap, or the file on the host)"
            }
            io::ErrorKind::PermissionDenied => "Run this as a user who may write to its folder, or edit its source",
            _ => "Free some space or edit it by hand, then save it",
        };
        Self::Write { path: path.to_owned(), cause, cure }
    }
}
