//! Reads files of records and prints the report on them: the command `report`.

mod interrupt;
mod page_file;
mod progress;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use flate2::bufread::MultiGzDecoder;

use super::shared::{Exit, complain, env, say};
use crate::config::{self, Secrets};
use crate::report::{
    Collector, Curves, Filter, GpuPrices, Other, Report, Verdict, each_line, html, instant, markdown, text, verdicts,
};
use interrupt::Interrupt;
use progress::Progress;

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
    /// Write the report to this file as one page that can be mailed, and print the verdicts alone.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "markdown"])]
    html: Option<PathBuf>,
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
    if let Some(page) = arguments.html.as_deref().filter(|page| has_records(page, &arguments.files)) {
        complain(&format!("{} holds records: name another file for the page", page.display()));
        return Exit::Refused;
    }
    let interrupt = match Interrupt::handle() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            complain(&format!("signals cannot be handled: {error}"));
            return Exit::Failed;
        }
    };
    let (report, curves) = match read(path, arguments) {
        Ok(read) => read,
        Err(cause) => {
            complain(&cause);
            return Exit::Failed;
        }
    };
    let done = match &arguments.html {
        Some(file) => write_page(file, &report, &curves, &interrupt),
        None => say(&printed(&report, arguments)),
    };
    // Without any route nothing was found in too little, which is not ready.
    let is_ready = !report.routes.is_empty() && report.routes.iter().all(|route| route.verdict == Verdict::Ready);
    match arguments.require {
        Some(Required::Ready) if done == Exit::Done && !(is_ready && is_whole(&report)) => Exit::Failed,
        _ => done,
    }
}

/// True if each row was judged; else it says so. A route whose rows are only counted is in no verdict.
fn is_whole(report: &Report) -> bool {
    let Other { rows, pairs } = report.other;
    if rows > 0 {
        complain(&format!(
            "ready is not shown: {rows} rows of {pairs} pairs are only counted; choose fewer by --since, --route or --model"
        ));
    }
    rows == 0
}

/// True if the page would take the place of records, as where a pattern of the shell names them after --html: of a file that
/// is read, or of one that begins as records do and no page does.
fn has_records(page: &Path, files: &[PathBuf]) -> bool {
    let of = |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|of| (of.dev(), of.ino()));
    let opened = |file: &PathBuf| of(if file == Path::new(STDIN) { Path::new("/dev/stdin") } else { file });
    let begins = || {
        let mut begun = [0; GZIP.len()];
        let read = File::open(page).and_then(|mut file| file.read_exact(&mut begun));
        read.is_ok() && (begun.starts_with(b"{") || begun == GZIP)
    };
    of(page).is_some_and(|page| begins() || files.iter().any(|file| opened(file) == Some(page)))
}

fn printed(report: &Report, arguments: &Arguments) -> String {
    if arguments.json {
        serde_json::to_string(report).unwrap_or_default()
    } else if arguments.markdown {
        markdown(report)
    } else {
        text(report)
    }
}

fn write_page(file: &Path, report: &Report, curves: &Curves, interrupt: &Interrupt) -> Exit {
    let page = html(report, curves);
    match interrupt.hold(|is_given_up| page_file::write(file, page.as_bytes(), is_given_up)) {
        Err(code) => Exit::Signalled(code),
        Ok(Err(error)) => {
            complain(&format!("{} cannot be written: {error}", file.display()));
            Exit::Failed
        }
        Ok(Ok(())) => say(&format!("{}\nThe page is in {}.", verdicts(report).trim_end(), file.display())),
    }
}

fn read(path: &Path, arguments: &Arguments) -> Result<(Report, Curves), String> {
    let Arguments { since, until, ref route, ref model, .. } = *arguments;
    let mut collector = Collector::new(Filter { since, until, route: route.clone(), model: model.clone() });
    let mut seen = HashSet::new();
    let mut files = 0;
    let mut progress = Progress::begin(size(&arguments.files));
    let read = arguments.files.iter().try_for_each(|file| {
        files += u64::from(read_file(file, &mut seen, &mut collector, &mut progress).map_err(|error| {
            format!(
                "{} cannot be read: {error}",
                if file == Path::new(STDIN) { "stdin".into() } else { file.display().to_string() }
            )
        })?);
        Ok(())
    });
    progress.end();
    read.map(|()| collector.report_and_curves(files, &prices(path)))
}

/// Returns the bytes of all files; `None` if one has no size. A file that is named twice counts twice: its progress ends
/// early.
fn size(files: &[PathBuf]) -> Option<u64> {
    let of = |file: &PathBuf| {
        let of = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
        Some(of.len())
    };
    files.iter().map(|file| if file == Path::new(STDIN) { None } else { of(file) }).sum()
}

/// Reads a file; false if it was read before. `seen` has the device and inode of each.
fn read_file(
    file: &Path,
    seen: &mut HashSet<(u64, u64)>,
    collector: &mut Collector,
    progress: &mut Progress,
) -> io::Result<bool> {
    if file == Path::new(STDIN) {
        // No file has this inode.
        let is_new = seen.insert((u64::MAX, u64::MAX));
        return Ok(is_new && read_lines(io::stdin().lock(), collector, progress).map(|()| true)?);
    }
    let file = File::open(file)?;
    let of = file.metadata()?;
    let is_new = seen.insert((of.dev(), of.ino()));
    let file = progress.of(file);
    Ok(is_new && read_lines(file, collector, progress).map(|()| true)?)
}

fn read_lines(input: impl Read, collector: &mut Collector, progress: &mut Progress) -> io::Result<()> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let take = |line: Option<&[u8]>| {
        progress.line();
        collector.line(line);
    };
    if input.fill_buf()?.starts_with(&GZIP) {
        return each_line(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input)), take);
    }
    each_line(input, take)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs::write(&file, "abc").unwrap();
        assert_eq!(size(&[file.clone(), file.clone()]), Some(6));
        assert_eq!(size(&[file.clone(), PathBuf::from(STDIN)]), None);
        assert_eq!(size(&[file, PathBuf::from("/dev/null")]), None);
    }
}
