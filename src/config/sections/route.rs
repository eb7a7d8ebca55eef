//! Reads `[[route]]`.

use super::super::problem::Problems;
use super::super::reader::{Section, Value, Wrong, percent, string, wrong};
use super::super::types::{RequestMatch, Route, RouteShadow};
use super::guard::overdue;
use super::rollout::Rollout;
use super::{matcher, names};

/// Reads the routes in the file's order; the last one is `default`, made of `[rollout]`.
pub(crate) fn read(value: Option<&Value<'_>>, rollout: &Rollout, names: &[String], p: &mut Problems<'_>) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    match value.map(|value| (value, value.get_ref().as_array())) {
        Some((_, Some(items))) => {
            for item in items.iter() {
                let route = route(item, rollout, names, p);
                if routes.iter().any(|known| known.name == route.name) && !route.name.is_empty() {
                    p.add(
                        &item.span(),
                        format!("there are two routes named {:?}", route.name),
                        "give each route its own name: it is part of the assignment's salt",
                    );
                }
                routes.push(route);
            }
        }
        Some((value, None)) => p.add(&value.span(), "route is not a list of tables", "write [[route]] for each route"),
        None => {}
    }
    routes.push(Route {
        name: "default".to_owned(),
        matcher: RequestMatch::default(),
        percent: rollout.percent.clone(),
        shadow: RouteShadow::Inherit,
        overdue: None,
    });
    routes
}

fn route(item: &Value<'_>, rollout: &Rollout, names: &[String], p: &mut Problems<'_>) -> Route {
    let mut s = Section::new("[[route]]", item, p);
    let name = s
        .require("name", "add name = \"…\": it is shown in /status and is part of the assignment's salt", p, |value| {
            match string(value)? {
                "default" => wrong("is \"default\", which is the name of [rollout]'s route", "choose another name"),
                name => Ok(name.to_owned()),
            }
        })
        .unwrap_or_default();
    let percent = s.require("percent", "add percent = { NAME = 0.0 }: it has no default", p, Ok);
    let of = format!("route {name:?}");
    let percent = percent.map(|value| names::percents(&of, value, names, rollout.baseline, p)).unwrap_or_default();
    let matcher = match s.get("match") {
        Some(value) => matcher::read(value, p),
        None => RequestMatch::default(),
    };
    let shadow = s.read("shadow", p, shadow).unwrap_or(RouteShadow::Inherit);
    let overdue = s.read("overdue", p, overdue);
    s.finish(p);
    Route { name, matcher, percent, shadow, overdue }
}

fn shadow(value: &Value<'_>) -> Result<RouteShadow, Wrong> {
    match value.get_ref().as_bool() {
        Some(true) => Ok(RouteShadow::Inherit),
        Some(false) => Ok(RouteShadow::Never),
        None => match percent(value) {
            Ok(own) => Ok(RouteShadow::Percent(own)),
            Err(Wrong { what, .. }) => {
                wrong(what, "write false, true or a percent: a number from 0 to 100 with at most two decimals")
            }
        },
    }
}
