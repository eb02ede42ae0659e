fn main() -> std::process::ExitCode {
    gradientd::cli::run()
}
