//! How `pointsman top` looks.
//!
//! Owns columns, units and colours. Takes the overview of the admin API; draws nothing itself.

use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::cli::printable::printable;

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// The outcomes that are failures of the model or its backend.
const FAILURES: [&str; 3] = ["model_error", "upstream_error", "timeout"];
/// Of so many exchanges one is refused where it is worth a colour.
const REFUSED_EVERY: u64 = 5;

/// The columns: heading, and whether numbers stand in it.
const COLUMNS: [(&str, bool); 10] = [
    ("MODEL", false),
    ("VERSION", false),
    ("REQ/S", true),
    ("REQUESTS", true),
    ("ERRORS", true),
    ("REFUSED", true),
    ("P50", true),
    ("P99", true),
    ("WORST DRIFT", false),
    ("ALARMS", true),
];

/// A cell and its colour.
type Cell = (String, &'static str);

/// The lines of the screen.
pub(super) fn lines(overview: &Value, color: bool) -> Vec<String> {
    let mut lines = vec![headline(overview), String::new()];
    let rows: Vec<Vec<Cell>> = array(&overview["versions"]).iter().map(row).collect();
    lines.extend(table(&rows, color));
    lines.push(String::new());
    let alarms = array(&overview["alarms"]);
    if alarms.is_empty() {
        lines.push("no active alarm".to_owned());
    } else {
        lines.extend(alarms.iter().map(|alarm| self::alarm(alarm, color)));
    }
    lines
}

fn headline(overview: &Value) -> String {
    let text = |name: &str| overview[name].as_str().unwrap_or("?");
    let ready = if overview["ready"] == true { "ready" } else { "not ready" };
    format!(
        "pointsman {} · {} · generation {} · the last {} until {}",
        text("node"),
        ready,
        overview["generation"],
        text("last"),
        text("until")
    )
}

fn row(version: &Value) -> Vec<Cell> {
    let traffic = &version["traffic"];
    let outcomes = &traffic["outcomes"];
    let failed: u64 = FAILURES.iter().filter_map(|outcome| outcomes[*outcome].as_u64()).sum();
    let refused = outcomes["rejected"].as_u64().unwrap_or(0);
    let all = traffic["exchanges"].as_u64().unwrap_or(0);
    let total = &traffic["latency_us"]["total"];
    let plain = |text: String| (text, "");
    let alarms = version["alarms"].as_u64().unwrap_or(0);
    vec![
        plain(text(&version["model"])),
        plain(text(&version["version"])),
        plain(format!("{:.1}", traffic["per_second"].as_f64().unwrap_or(0.0))),
        plain(traffic["exchanges"].to_string()),
        (failed.to_string(), if failed > 0 { YELLOW } else { "" }),
        (refused.to_string(), if refused > all / REFUSED_EVERY { YELLOW } else { "" }),
        plain(time(&total["p50"])),
        plain(time(&total["p99"])),
        drift(&version["drift"]),
        (alarms.to_string(), if alarms > 0 { RED } else { "" }),
    ]
}

/// The feature that moved most, its index, and what is concluded.
fn drift(drift: &Value) -> Cell {
    let Some(feature) = drift["feature"].as_str() else {
        return (drift["state"].as_str().unwrap_or("-").to_owned(), "");
    };
    let state = drift["state"].as_str().unwrap_or("-");
    let value = drift["psi"].as_f64().map_or_else(String::new, |psi| format!(" {psi:.3}"));
    let color = if state == "breach" { RED } else { "" };
    (format!("{feature}{value} {state}"), color)
}

/// Microseconds in a unit that fits.
fn time(us: &Value) -> String {
    match us.as_f64() {
        None => "-".to_owned(),
        Some(us) if us < 1e3 => format!("{us:.0}us"),
        Some(us) if us < 1e5 => format!("{:.1}ms", us / 1e3),
        Some(us) if us < 1e6 => format!("{:.0}ms", us / 1e3),
        Some(us) => format!("{:.2}s", us / 1e6),
    }
}

fn table(rows: &[Vec<Cell>], color: bool) -> Vec<String> {
    let heading: Vec<Cell> = COLUMNS.iter().map(|(name, _)| ((*name).to_owned(), BOLD)).collect();
    let all = || std::iter::once(&heading).chain(rows);
    let width = |column: usize| {
        let cells = all().filter_map(|row| row.get(column));
        cells.map(|(text, _)| text.width()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let line = |row: &Vec<Cell>| {
        let cells = row.iter().zip(&widths).zip(COLUMNS).map(|(((text, paint), width), column)| {
            let space = " ".repeat(width.saturating_sub(text.width()));
            let text = painted(text, paint, color);
            if column.1 { format!("{space}{text}") } else { format!("{text}{space}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect()
}

fn alarm(alarm: &Value, color: bool) -> String {
    let severity = text(&alarm["severity"]);
    let paint = match severity.as_str() {
        "critical" => RED,
        "warning" => YELLOW,
        _ => "",
    };
    let (model, version) = (text(&alarm["model"]), text(&alarm["version"]));
    let subject = match (model.is_empty(), version.is_empty()) {
        (true, _) => "gateway".to_owned(),
        (false, true) => model,
        (false, false) => format!("{model}/{version}"),
    };
    let evidence = &alarm["evidence"];
    let mut line = format!(
        "{}  {}  {subject}  since {}",
        painted(&severity, paint, color),
        text(&alarm["alarm"]),
        text(&alarm["since"])
    );
    if let (Some(value), Some(limit)) = (evidence["value"].as_f64(), evidence["limit"].as_f64()) {
        line.push_str(&format!("  {value:.3} (limit {limit:.3})"));
    }
    let findings = array(&evidence["findings"]).iter().take(3);
    let findings: Vec<String> =
        findings.map(|it| format!("{}: {}", text(&it["subject"]), text(&it["what"]))).collect();
    if !findings.is_empty() {
        line.push_str(&format!("  {}", findings.join("; ")));
    }
    line
}

fn painted(text: &str, paint: &str, color: bool) -> String {
    if color && !paint.is_empty() { format!("{paint}{text}{RESET}") } else { text.to_owned() }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    // What came from elsewhere must not move the cursor.
    printable(value.as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn overview() -> Value {
        json!({
            "node": "edge-1", "ready": true, "generation": 3, "last": "minute",
            "until": "2026-11-26T15:00:00Z",
            "versions": [
                {
                    "model": "fraud", "version": "v7", "alarms": 1,
                    "drift": { "feature": "age", "psi": 0.2345, "state": "breach" },
                    "traffic": {
                        "exchanges": 1600, "per_second": 20.0,
                        "outcomes": { "ok": 1190, "upstream_error": 7, "timeout": 3, "rejected": 400 },
                        "latency_us": { "total": { "p50": 850, "p99": 12_400 } },
                    },
                },
                {
                    "model": "iris", "version": "v1", "alarms": 0, "drift": null,
                    "traffic": { "exchanges": 0, "per_second": 0.0, "outcomes": {}, "latency_us": {} },
                },
            ],
            "alarms": [{
                "alarm": "drift", "model": "fraud", "version": "v7", "severity": "warning",
                "since": "2026-11-26T14:58:00Z",
                "evidence": { "value": 0.2345, "limit": 0.02, "findings": [{ "subject": "a\u{1b}[2Jge", "what": "moved" }] },
            }],
        })
    }

    #[test]
    fn a_screen_has_a_line_for_each_version_and_each_alarm() {
        let expected = "\
pointsman edge-1 · ready · generation 3 · the last minute until 2026-11-26T15:00:00Z

MODEL  VERSION  REQ/S  REQUESTS  ERRORS  REFUSED    P50     P99  WORST DRIFT       ALARMS
fraud  v7        20.0      1600      10      400  850us  12.4ms  age 0.234 breach       1
iris   v1         0.0         0       0        0      -       -  -                      0

warning  drift  fraud/v7  since 2026-11-26T14:58:00Z  0.234 (limit 0.020)  a?[2Jge: moved";
        assert_eq!(lines(&overview(), false).join("\n"), expected);
    }

    #[test]
    fn colours_change_no_width_and_nothing_breaks_on_an_empty_gateway() {
        let colored = lines(&overview(), true).join("\n");
        assert!(colored.contains(&format!("{RED}age 0.234 breach{RESET}")), "{colored}");
        let bare =
            [BOLD, RED, YELLOW, RESET].iter().fold(colored, |text, code| text.replace(code, ""));
        assert_eq!(bare, lines(&overview(), false).join("\n"));
        assert!(lines(&json!({}), false).contains(&"no active alarm".to_owned()));
    }
}
