//! The `routergym-local` program: hands the arguments to [`routergym_local::cli`] and exits with its status.

fn main() -> std::process::ExitCode {
    routergym_local::cli::main()
}
