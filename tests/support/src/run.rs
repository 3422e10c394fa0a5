//! Runs a program to its end under a limit, and tells everything about it when it fails.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// A program to run. The environment starts empty but for `PATH`.
#[derive(Clone, Debug)]
pub struct Run {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    directory: Option<PathBuf>,
    limit: Duration,
}

/// What a program left behind.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code; `None` if it was killed, also for running too long.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// A program by path or name.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
            limit: Duration::from_secs(60),
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs in this directory.
    pub fn dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Kills it after this time (60 s unless set).
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    pub async fn finish(&self) -> Ran {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.arguments).env_clear().kill_on_drop(true);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env("PATH", path)
            .envs(self.environment.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let child = command.spawn();
        let child =
            child.unwrap_or_else(|e| panic!("{} does not start: {e}", self.program.display()));
        match tokio::time::timeout(self.limit, child.wait_with_output()).await {
            Ok(Ok(output)) => Ran {
                code: output.status.code(),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            },
            Ok(Err(error)) => panic!("{}: {error}", self.program.display()),
            Err(_) => Ran {
                code: None,
                stdout: String::new(),
                stderr: format!("killed after {:?}", self.limit),
            },
        }
    }

    /// Runs it to its end and stops unless that was a success. Returns standard output.
    pub async fn succeed(&self) -> String {
        let ran = self.finish().await;
        assert_eq!(
            ran.code,
            Some(0),
            "{} {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.program.display(),
            self.arguments,
            ran.stdout,
            ran.stderr
        );
        ran.stdout
    }
}
