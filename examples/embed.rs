//! Runs a sidecar inside another program, in front of simulated servers: `cargo run --example embed`.
//!
//! Every request is copied to the other side, which no client may notice. It prints the `base_url` for an OpenAI client. Each line on stdin is a command, answered with `done` when it is in
//! force: a number sets the candidate's percent, `engine sglang` changes its engine, `failover on` or `off` switches
//! failover, `candidate 503` makes it answer with this status (`candidate 200` ends that), `openai 429` does the same for
//! OpenAI; `limit` and `free` are short for `openai 429` and `openai 200`.

#![expect(clippy::print_stdout, reason = "an example talks to the person who runs it")]

use std::io::BufRead;
use std::path::Path;

use shiftgate::api::app::{App, Options};
use shiftgate::api::config::{self, Secrets};
use shiftgate::api::live::Source;
use shiftgate::api::sim::{self, Behaviour, Sim, SimConfig, Template, Wire};

type Failed = Box<dyn std::error::Error>;

/// Settings that are written into the file.
struct Setting {
    percent: String,
    engine: Wire,
    failover: bool,
}

impl Setting {
    fn text(&self, openai: &Sim, candidate: &Sim) -> String {
        let more = match self.engine {
            Wire::Vllm | Wire::Sglang | Wire::Trtllm => "family = \"qwen3.5\"\nresponses = true\nvision = true\n",
            Wire::DashScope => "family = \"qwen3.5\"\nvision = true\n",
            Wire::Tgi => "family = \"qwen2.5\"\nvision = true\n",
            Wire::OpenAi | Wire::Compatible => "",
        };
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nrequest_log = false\n\
             [failover]\nenabled = {}\n\
             [shadow]\npercent = 100\nto = [\"qwen\", \"openai\"]\nnoise_percent = 100\n\
             [rollout]\nname = \"embed\"\nbaseline = \"openai\"\npercent = {{ qwen = {} }}\n\
             [backend.openai]\nengine = \"openai\"\nurl = \"{}\"\napi_key = \"client\"\n\
             [backend.qwen]\nengine = \"{}\"\nurl = \"{}\"\napi_key = \"none\"\nmodels = {{ \"*\" = \"qwen\" }}\n{more}",
            self.failover,
            self.percent,
            openai.url(),
            self.engine.as_str(),
            candidate.url(),
        )
    }
}

/// Starts one server for each engine, as strict as its newest model.
async fn candidates() -> std::io::Result<Vec<(Wire, Sim)>> {
    let mut sims = Vec::new();
    for wire in Wire::ALL {
        let config = SimConfig::new(wire).model("qwen");
        let config = match wire {
            Wire::Vllm | Wire::Sglang | Wire::Trtllm | Wire::DashScope => config.template(Template::Qwen35).sees(),
            Wire::OpenAi | Wire::Tgi | Wire::Compatible => config,
        };
        sims.push((wire, sim::start(config, Behaviour::default()).await?));
    }
    Ok(sims)
}

/// Writes the file and waits until it is in force.
async fn put(app: &App, file: &Path, text: String) -> Result<(), Failed> {
    if std::fs::read_to_string(file)? == text {
        return Ok(());
    }
    let before = app.store.current().snapshot.generation;
    std::fs::write(file, text)?;
    app.reload_now();
    while app.store.current().snapshot.generation == before {
        if let Some(error) = app.store.reload_error() {
            return Err(error.message.into());
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    Ok(())
}

fn answers_with(sim: &Sim, status: &str) {
    let status = status.parse().ok().filter(|status| *status != 200);
    let retry_after = (status == Some(429)).then_some(1);
    sim.set(Behaviour { status: status.map(|status| (status, retry_after)), ..Behaviour::default() });
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let openai = sim::start(SimConfig::new(Wire::OpenAi).key("sk-demo"), Behaviour::default()).await?;
    let candidates = candidates().await?;
    let of = |engine: Wire| candidates.iter().find(|(wire, _)| *wire == engine).map_or(&openai, |(_, sim)| sim);
    let mut setting = Setting { percent: "0".to_owned(), engine: Wire::Vllm, failover: true };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rollout.toml");
    let text = setting.text(&openai, of(setting.engine));
    std::fs::write(&file, &text)?;
    let config = config::load(&file, Secrets::Required, &|_| None)?;
    let options = Options { watch: true, ..Options::default() };
    let app = App::start(config, text.as_bytes(), Source::of_process(), options).await?;
    println!("base_url http://{}/v1", app.listen);
    println!("status   http://{}/status", app.admin);

    let (lines, mut commands) = tokio::sync::mpsc::channel(8);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = commands.recv().await {
        match line.trim().split_once(' ').unwrap_or_else(|| (line.trim(), "")) {
            ("limit", _) => answers_with(&openai, "429"),
            ("free", _) => answers_with(&openai, "200"),
            ("openai", status) => answers_with(&openai, status),
            ("candidate", status) => answers_with(of(setting.engine), status),
            ("failover", word) => setting.failover = word == "on",
            ("engine", name) => match Wire::ALL.into_iter().find(|wire| wire.as_str() == name) {
                Some(wire) => setting.engine = wire,
                None => println!("unknown engine {name}"),
            },
            (percent, _) => setting.percent = percent.to_owned(),
        }
        put(&app, &file, setting.text(&openai, of(setting.engine))).await?;
        println!("done {line}");
    }
    Ok(())
}
