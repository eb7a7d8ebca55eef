//! Adds 1 to `resume` of `[guard]`: the command `resume`.

use std::path::Path;

use toml_edit::{DocumentMut, Item};

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
        set(&mut document, after).ok_or_else(|| found.form("its [guard] is not a table"))?;
        let edited = found.edited(&document);
        found.check(&edited)?;
        found.is_ours(|| format!("resume of [guard]: {before} -> {after}"))?;
        let done = Resumed { before, after: u64::from(after) };
        Ok(found.replace(&edited, Writer::Resume)?.then_some(done))
    })
}

/// Sets the number, and adds the key if it is missing; `None` if there is no table to set it in.
fn set(document: &mut DocumentMut, number: u32) -> Option<()> {
    let guard = document.get_mut("guard")?;
    if let Some(old) = guard.as_table_like_mut()?.get_mut("resume").and_then(Item::as_value_mut) {
        let decor = old.decor().clone();
        *old = toml_edit::Value::from(i64::from(number));
        *old.decor_mut() = decor;
        return Some(());
    }
    let mut added = toml_edit::Value::from(i64::from(number));
    if let Item::Value(toml_edit::Value::InlineTable(table)) = guard
        && let Some((_, last)) = table.iter_mut().last()
    {
        // The space before the closing brace belongs to the last value.
        *added.decor_mut() = toml_edit::Decor::new(" ", last.decor().suffix().cloned().unwrap_or_default());
        last.decor_mut().set_suffix("");
    }
    guard.as_table_like_mut()?.insert("resume", Item::Value(added));
    Some(())
}
