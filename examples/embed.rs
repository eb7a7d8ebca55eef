//! A sidecar inside another program, in front of two simulated servers: `cargo run --example embed`.
//!
//! It prints the `base_url` to give to an OpenAI client. Lines on stdin steer it: a number is the new percent of the
//! candidate, `limit` makes OpenAI answer 429, `free` ends that.

#![expect(clippy::print_stdout, reason = "an example talks to the person who runs it")]

use std::io::BufRead;

use shiftgate::app::{App, Options};
use shiftgate::config::{self, Secrets};
use shiftgate::live::Source;
use shiftgate::sim::{self, Behaviour, SimConfig, Wire};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let openai = sim::start(SimConfig::new(Wire::OpenAi).key("sk-demo"), Behaviour::default()).await?;
    let qwen = sim::start(SimConfig::new(Wire::Vllm).model("qwen"), Behaviour::default()).await?;
    let text = |percent: &str| {
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nrequest_log = false\n\
             [rollout]\nname = \"embed\"\nbaseline = \"openai\"\npercent = {{ qwen = {percent} }}\n\
             [backend.openai]\nengine = \"openai\"\nurl = \"{}\"\napi_key = \"client\"\n\
             [backend.qwen]\nengine = \"vllm\"\nurl = \"{}\"\napi_key = \"none\"\nmodels = {{ \"*\" = \"qwen\" }}\n",
            openai.url(),
            qwen.url()
        )
    };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rollout.toml");
    std::fs::write(&file, text("0"))?;
    let config = config::load(&file, Secrets::Required, &|_| None)?;
    let options = Options { watch: true, ..Options::default() };
    let app = App::start(config, text("0").as_bytes(), Source::of_process(), options).await?;
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
        match line.trim() {
            "limit" => openai.set(Behaviour { status: Some((429, Some(1))), ..Behaviour::default() }),
            "free" => openai.set(Behaviour::default()),
            percent => {
                std::fs::write(&file, text(percent))?;
                app.reload_now();
            }
        }
    }
    Ok(())
}
