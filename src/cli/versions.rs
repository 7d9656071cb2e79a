//! `pointsman versions …`: the releases of a running gateway.
//!
//! Owns what is printed, and the way of an order to the admin API. Decides nothing.

use std::io::Write;

use serde_json::{Value, json};

use super::args::{Format, KillArgs, ModelOrderArgs, OrderArgs, Signed, VersionsCommand};
use super::{Failure, admin_client};
use crate::domain::ids::is_valid_name;
use crate::domain::spec::Intent;

/// Carries out a command.
pub(super) fn run(
    command: &VersionsCommand,
    intent: &Intent,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (path, signed, force) = match command {
        VersionsCommand::List { model, format } => {
            return list(intent, model.as_deref(), *format, out);
        }
        VersionsCommand::Show { model, version, format } => {
            return show(intent, (model, version), *format, out);
        }
        VersionsCommand::Promote(order) => about(order, "promote")?,
        VersionsCommand::Rollback(order) => {
            let ModelOrderArgs { model, version, signed } = order;
            (path(Some(model), version.as_deref(), "rollback")?, signed, false)
        }
        VersionsCommand::Drain(order) => about(order, "drain")?,
        VersionsCommand::Evict { order, force } => {
            let (path, signed, _) = about(order, "evict")?;
            (path, signed, *force)
        }
        VersionsCommand::Restore(order) => about(order, "restore")?,
        VersionsCommand::Pin(order) => about(order, "pin")?,
        VersionsCommand::Unpin(order) => about(order, "unpin")?,
        VersionsCommand::Hold(order) => about(order, "hold")?,
        VersionsCommand::Unhold(order) => about(order, "unhold")?,
        VersionsCommand::Approve(order) => about(order, "approve")?,
        VersionsCommand::Reject(order) => about(order, "reject")?,
        VersionsCommand::Kill(args) => switch(args, "kill")?,
        VersionsCommand::Unkill(args) => switch(args, "unkill")?,
    };
    let mut body = json!({ "who": signed.who, "why": signed.why, "force": force });
    if let Some(expected) = signed.expect {
        body["expected_generation"] = expected.into();
    }
    let answer = admin_client::post(intent.admin, &path, &body)?;
    writeln!(out, "{}", answer["event"].as_str().unwrap_or_default())?;
    if let Some(why) = answer["unwritten"].as_str() {
        writeln!(out, "It acts, and is not written down yet: a restart would undo it. {why}")?;
    }
    Ok(())
}

fn about<'a>(order: &'a OrderArgs, word: &str) -> Result<(String, &'a Signed, bool), Failure> {
    let OrderArgs { model, version, signed } = order;
    Ok((path(Some(model), Some(version), word)?, signed, false))
}

fn switch<'a>(args: &'a KillArgs, word: &str) -> Result<(String, &'a Signed, bool), Failure> {
    let KillArgs { model, version, signed } = args;
    Ok((path(model.as_deref(), version.as_deref(), word)?, signed, false))
}

/// The path of an order. Names are checked, so that they cannot become another path.
fn path(model: Option<&str>, version: Option<&str>, order: &str) -> Result<String, Failure> {
    for name in [model, version].into_iter().flatten() {
        if !is_valid_name(name) {
            return Err(Failure::Usage(format!("`{}` is no name", name.escape_debug())));
        }
    }
    Ok(match (model, version) {
        (Some(model), Some(version)) => {
            format!("/api/v1/models/{model}/versions/{version}/{order}")
        }
        (Some(model), None) => format!("/api/v1/models/{model}/{order}"),
        (None, _) => format!("/api/v1/{order}"),
    })
}

fn list(
    intent: &Intent,
    model: Option<&str>,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let path = match model {
        Some(model) => path(Some(model), None, "versions")?,
        None => "/api/v1/releases".to_owned(),
    };
    let answer = whole(&path, |path| admin_client::get(intent.admin, path))?;
    if format == Format::Json {
        return Ok(writeln!(out, "{answer}")?);
    }
    let models: Vec<&Value> = match answer["models"].as_object() {
        Some(models) => models.values().collect(),
        None => vec![&answer],
    };
    for model in models {
        print_model(model, out)?;
    }
    Ok(())
}

/// A list of the admin API, with all of its pages.
fn whole(path: &str, get: impl Fn(&str) -> Result<Value, Failure>) -> Result<Value, Failure> {
    let mut list = get(path)?;
    let mut after = list["next"].as_str().map(str::to_owned);
    while let Some(last) = after {
        let page = get(&format!("{path}?after={last}"))?;
        let next = page["next"].as_str().map(str::to_owned);
        // A page that does not go on would be asked for without end.
        after = next.filter(|next| *next != last);
        add_page(&mut list, page);
    }
    if let Some(list) = list.as_object_mut() {
        list.remove("next");
    }
    Ok(list)
}

/// Adds the versions of a further page.
fn add_page(list: &mut Value, mut page: Value) {
    let Some(models) = page["models"].as_object_mut() else {
        return add_versions(list, page);
    };
    for (name, part) in std::mem::take(models) {
        match list["models"].get_mut(&name) {
            Some(known) => add_versions(known, part),
            None => list["models"][name] = part,
        }
    }
}

fn add_versions(model: &mut Value, mut page: Value) {
    if let (Some(all), Some(more)) =
        (model["versions"].as_array_mut(), page["versions"].as_array_mut())
    {
        all.append(more);
    }
}

fn print_model(model: &Value, out: &mut dyn Write) -> Result<(), Failure> {
    let name = model["model"].as_str().unwrap_or_default();
    writeln!(out, "{name} (generation {})", model["generation"])?;
    if let Some(by) = model["killed"]["by"].as_str() {
        writeln!(out, "  cut off by {by}")?;
    }
    for version in model["versions"].as_array().into_iter().flatten() {
        let text = |key: &str| version[key].as_str().unwrap_or_default();
        let share = version["share"].as_f64().map(|share| format!(" {}%", share * 100.0));
        let stage = format!("{}{}", text("stage"), share.unwrap_or_default());
        writeln!(out, "  {:<16} {stage:<14} {}", text("version"), text("why"))?;
    }
    for alert in model["alerts"].as_array().into_iter().flatten() {
        writeln!(out, "  ! {}", alert.as_str().unwrap_or_default())?;
    }
    Ok(())
}

fn show(
    intent: &Intent,
    (model, version): (&str, &str),
    format: Format,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut path = path(Some(model), Some(version), "")?;
    path.truncate(path.trim_end_matches('/').len());
    let answer = admin_client::get(intent.admin, &path)?;
    if format == Format::Json {
        return Ok(writeln!(out, "{answer}")?);
    }
    let text = |key: &str| answer[key].as_str().unwrap_or_default();
    writeln!(out, "{}", text("why"))?;
    writeln!(out, "  source     {}", text("source"))?;
    writeln!(out, "  digest     {}", text("digest"))?;
    writeln!(out, "  generation {}", answer["generation"])?;
    for reason in answer["waits_for"].as_array().into_iter().flatten() {
        writeln!(out, "  waits for  {}", reason.as_str().unwrap_or_default())?;
    }
    for check in answer["checks"].as_array().into_iter().flatten() {
        let text = |key: &str| check[key].as_str().unwrap_or_default();
        writeln!(out, "  {:<14} {:<14} {}", text("kind"), text("outcome"), text("detail"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_the_versions_of_all_of_its_pages() {
        let pages = [
            ("/x", json!({ "models": { "a": { "versions": [1, 2] } }, "next": "a/2" })),
            (
                "/x?after=a/2",
                json!({ "models": { "a": { "versions": [3] }, "b": { "versions": [1] } }, "next": "b/1" }),
            ),
            ("/x?after=b/1", json!({ "models": { "b": { "versions": [2] } }, "next": null })),
        ];
        let list = whole("/x", |path| {
            let page = pages.iter().find(|(of, _)| *of == path);
            Ok(page.expect("a page").1.clone())
        });
        let all = json!({ "a": { "versions": [1, 2, 3] }, "b": { "versions": [1, 2] } });
        assert_eq!(list.expect("a list"), json!({ "models": all }));
    }

    #[test]
    fn an_order_has_the_path_of_what_it_is_about_and_no_other() {
        let path = |model, version, order| path(model, version, order).ok();
        assert_eq!(
            path(Some("m"), Some("v1"), "pin").as_deref(),
            Some("/api/v1/models/m/versions/v1/pin")
        );
        assert_eq!(path(Some("m"), None, "kill").as_deref(), Some("/api/v1/models/m/kill"));
        assert_eq!(path(None, None, "kill").as_deref(), Some("/api/v1/kill"));
        assert_eq!(path(Some("../x"), None, "kill"), None);
    }
}
