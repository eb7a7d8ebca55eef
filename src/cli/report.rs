//! Reads files of records and prints the report on them: the command `report`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use flate2::bufread::MultiGzDecoder;

use super::shared::{Exit, complain, env};
use crate::config::{self, Secrets};
use crate::report::{Collector, Filter, GpuPrices, Report, Verdict, each_line, instant, markdown, text};

/// Size, in bytes, of the read buffer. A usual line fits in whole, so that it is read without a copy.
const BUFFER: usize = 64 << 10;
/// First bytes of gzip, with which no record begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Name that stands for stdin.
const STDIN: &str = "-";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Files of records, plain or gzip; - reads stdin. A file that is named twice is read once.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the report as JSON.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the report as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Leave out lines before this time: 2026-11-20 or 2026-11-20T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<i64>,
    /// Leave out lines at or after this time.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<i64>,
    /// Leave out other routes.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Leave out pairs of other models, as the application asks for them.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Fail unless every route has this verdict.
    #[arg(long, value_name = "VERDICT")]
    require: Option<Required>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Required {
    Ready,
}

pub(super) fn run(path: &Path, arguments: &Arguments) -> Exit {
    let report = match read(path, arguments) {
        Ok(report) => report,
        Err(cause) => {
            complain(&cause);
            return Exit::Failed;
        }
    };
    let printed = if arguments.json {
        serde_json::to_string(&report).unwrap_or_default()
    } else if arguments.markdown {
        markdown(&report)
    } else {
        text(&report)
    };
    // A closed pipe does not change how the command ends.
    drop(writeln!(io::stdout(), "{}", printed.trim_end()));
    // Without any route nothing was found in too little, which is not ready.
    let is_ready = !report.routes.is_empty() && report.routes.iter().all(|route| route.verdict == Verdict::Ready);
    match arguments.require {
        Some(Required::Ready) if !is_ready => Exit::Failed,
        _ => Exit::Done,
    }
}

fn read(path: &Path, arguments: &Arguments) -> Result<Report, String> {
    let Arguments { since, until, ref route, ref model, .. } = *arguments;
    let mut collector = Collector::new(Filter { since, until, route: route.clone(), model: model.clone() });
    let mut seen = HashSet::new();
    let mut files = 0;
    for file in &arguments.files {
        files += u64::from(read_file(file, &mut seen, &mut collector).map_err(|error| {
            format!(
                "{} cannot be read: {error}",
                if file == Path::new(STDIN) { "stdin".into() } else { file.display().to_string() }
            )
        })?);
    }
    Ok(collector.report(files, &prices(path)))
}

/// Reads a file; false if it was read before. `seen` has the device and inode of each.
fn read_file(file: &Path, seen: &mut HashSet<(u64, u64)>, collector: &mut Collector) -> io::Result<bool> {
    if file == Path::new(STDIN) {
        // No file has this inode.
        return Ok(seen.insert((u64::MAX, u64::MAX)) && read_lines(io::stdin().lock(), collector).map(|()| true)?);
    }
    let file = File::open(file)?;
    let of = file.metadata()?;
    Ok(seen.insert((of.dev(), of.ino())) && read_lines(file, collector).map(|()| true)?)
}

fn read_lines(input: impl Read, collector: &mut Collector) -> io::Result<()> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    if input.fill_buf()?.starts_with(&GZIP) {
        let plain = BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input));
        return each_line(plain, |line| collector.line(line));
    }
    each_line(input, |line| collector.line(line))
}

/// Returns the prices of GPUs from the file, where it is there. A report does not depend on it, so that a file that is not
/// valid is a warning.
fn prices(path: &Path) -> GpuPrices {
    if !path.exists() {
        return GpuPrices::default();
    }
    match config::load(path, Secrets::Skip, &env) {
        Ok(config) => GpuPrices::of(&config),
        Err(error) => {
            complain(&format!("warning: no price of GPUs is known, because the file is not valid: {error}"));
            GpuPrices::default()
        }
    }
}
