//! Changes one percent and nothing else in the file: the command `shift`.

use std::path::Path;

use toml_edit::{DocumentMut, Item, TableLike, value};

use super::super::reader::unknown_cure;
use super::super::types::{Config, Route};
use super::change::{Env, Found, retried};
use super::error::EditError;
use super::note::Writer;
use super::shifted::Shifted;
use super::undo::Prepared;
use crate::model::Percent;

/// Sets a candidate's percent on a route; `None` means the route `default`, that of `[rollout]`.
pub fn shift(
    path: &Path,
    backend: &str,
    percent: Percent,
    route: Option<&str>,
    env: Env<'_>,
) -> Result<Shifted, EditError> {
    retried(path, || {
        let found = Found::read(path, env)?;
        let route = find(&found.config, backend, route.unwrap_or("default"), &found.shown)?.name.clone();
        let mut document = found.document()?;
        let table = percent_table(&mut document, &route).ok_or_else(|| found.form("its percent is not a table"))?;
        set(table, backend, percent);
        let edited = found.edited(&document);
        let next = found.check(&edited)?;
        let percent = |config: &Config| Shifted::percent(config, &route, backend);
        let (before, after) = (percent(&found.config), percent(&next));
        if edited != found.text {
            found.is_ours(|| format!("percent of {backend} on route {route}: {before} -> {after}"))?;
            let note = Prepared::new(&found, &edited, (&route, backend))?;
            if !found.replace(&edited, Writer::Shift)? {
                return Ok(None);
            }
            note.persist();
        }
        Ok(Some(Shifted { route, backend: backend.to_owned(), before, after }))
    })
}

/// Finds the route, and checks that the candidate exists.
fn find<'c>(config: &'c Config, backend: &str, route: &str, path: &str) -> Result<&'c Route, EditError> {
    let routes = config.routes.iter();
    let found = routes.clone().find(|one| one.name == route).ok_or_else(|| EditError::UnknownRoute {
        name: route.to_owned(),
        path: path.to_owned(),
        cure: unknown_cure(route, routes.map(|one| one.name.as_str())),
    })?;
    let candidates = config.backends_with_ids().filter(|(id, _)| *id != config.baseline);
    let mut named = candidates.clone();
    if named.any(|(_, one)| one.name == backend) {
        return Ok(found);
    }
    Err(EditError::UnknownBackend {
        name: backend.to_owned(),
        path: path.to_owned(),
        cure: unknown_cure(backend, candidates.map(|(_, one)| one.name.as_str())),
    })
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
