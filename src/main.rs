//! The binary: everything is in the library, so that tests, benches and examples use what ships.

use std::process::ExitCode;

fn main() -> ExitCode {
    shiftgate::api::main()
}
