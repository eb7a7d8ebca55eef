//! Adds 1 to `resume` of `[guard]`: the command `resume`.

use std::path::Path;

use toml_edit::{Item, TableLike, value};

use super::change::{Env, Found, retried};
use super::error::EditError;
use super::note::Writer;

/// A number that was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// Number in the file before the change; 0 if it was not written.
    pub before: u64,
    /// Number in the file after the change.
    pub after: u64,
}

/// Adds 1 to `resume`, which lifts every withdrawal. After the largest number that the file may have comes 0: any other
/// number lifts.
pub fn resume(path: &Path, env: Env<'_>) -> Result<Resumed, EditError> {
    retried(path, || {
        let found = Found::read(path, env)?;
        let Some(guard) = &found.config.guard else {
            return Err(EditError::NoGuard { path: found.shown });
        };
        let before = guard.resume;
        let after = u32::try_from(before).ok().and_then(|before| before.checked_add(1)).unwrap_or(0);
        let mut document = found.document()?;
        let table = document.get_mut("guard").and_then(Item::as_table_like_mut);
        set(table.ok_or_else(|| found.form("its [guard] is not a table"))?, after);
        let edited = document.to_string();
        found.check(&edited)?;
        found.is_ours(|| format!("resume of [guard]: {before} -> {after}"))?;
        let done = Resumed { before, after: u64::from(after) };
        Ok(found.replace(&edited, Writer::Resume)?.then_some(done))
    })
}

fn set(table: &mut dyn TableLike, number: u32) {
    match table.get_mut("resume").and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = toml_edit::Value::from(i64::from(number));
            *old.decor_mut() = decor;
        }
        None => {
            table.insert("resume", value(i64::from(number)));
        }
    }
}
