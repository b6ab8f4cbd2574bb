//! The program. All of it is in the library: what is generic would be compiled here once more.

fn main() -> std::process::ExitCode {
    invoice_app::command_line::main()
}
