//! Reading the command line: the same exit codes for every process.

use std::process::ExitCode;

use clap::Parser;

use crate::shutdown::EXIT_CONFIG;

/// The command line, or the code to end with: 64 for a mistake, 0 after `--help` and `--version`. What clap has to say is
/// printed.
pub fn parse<C: Parser>() -> Result<C, ExitCode> {
    C::try_parse().map_err(|error| {
        let code = if error.use_stderr() {
            ExitCode::from(EXIT_CONFIG)
        } else {
            ExitCode::SUCCESS
        };
        // Nothing is left to be done about a closed terminal.
        let _ = error.print();
        code
    })
}
