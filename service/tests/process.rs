//! The life of a process: real processes of this very test binary, real signals, real exit codes.

#![cfg(test)]

use std::{
    convert::Infallible,
    future::pending,
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use service::shutdown::{Group, Process};

type Never = Result<(), Infallible>;

/// What the child process does; `CASE` names it. Prints `up` when it can be signalled.
#[tokio::main]
async fn child(case: &str) -> ExitCode {
    let mut process = Process::new(Duration::from_millis(if case == "stuck" {
        1_000
    } else {
        10_000
    }));
    let (first, second) = (process.group("first"), process.group("second"));
    until_stop(&first, "a", Duration::from_millis(200));
    until_stop(&first, "b", Duration::from_millis(100));
    until_stop(
        &second,
        "c",
        Duration::from_millis(if case == "stuck" { 50 } else { 0 }),
    );
    match case {
        "ends" => first.spawn("short", async { Never::Ok(()) }),
        "fails" => first.spawn("short", async { Err::<(), _>("broken") }),
        "panics" => first.spawn("short", async {
            assert!(std::env::var_os("CASE").is_none(), "told to");
            Never::Ok(())
        }),
        "stuck" | "impatient" => first.spawn("stuck", pending::<Never>()),
        "fails late" => {
            let stop = first.stop();
            first.spawn("late", async move {
                stop.cancelled().await;
                Err::<(), _>("could not finish")
            });
        }
        _ => {}
    }
    println!("up");
    process.run(|| println!("unready")).await
}

fn until_stop(group: &Group, name: &'static str, takes: Duration) {
    let stop = group.stop();
    group.spawn(name, async move {
        stop.cancelled().await;
        tokio::time::sleep(takes).await;
        println!("{name} finished");
        Never::Ok(())
    });
}

#[test]
fn as_child() {
    if let Ok(case) = std::env::var("CASE") {
        let code = child(&case);
        std::process::exit(i32::from(code != ExitCode::SUCCESS));
    }
}

fn start(case: &str) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_child", "--nocapture"])
        .env("CASE", case)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("up")));
    (child, lines)
}

fn signal(child: &Child, name: &str) {
    assert!(
        Command::new("kill")
            .args([name, &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

fn exit_code(child: &mut Child) -> i32 {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().expect("it ended by itself");
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_signal_ends_the_groups_in_order_and_exits_0() {
    for name in ["-TERM", "-INT"] {
        let (mut child, lines) = start("well");
        signal(&child, name);
        let lines = lines.collect::<Vec<_>>();
        assert_eq!(exit_code(&mut child), 0);
        assert_eq!(lines, ["unready", "b finished", "a finished", "c finished"]);
    }
}

#[test]
fn a_task_that_ends_takes_the_process_down_in_order() {
    for case in ["ends", "fails", "panics"] {
        let (mut child, lines) = start(case);
        let lines = lines.collect::<Vec<_>>();
        assert_eq!(exit_code(&mut child), 1, "{case}");
        assert_eq!(
            lines,
            ["unready", "b finished", "a finished", "c finished"],
            "{case}"
        );
    }
}

#[test]
fn a_task_that_does_not_finish_in_time_is_left_behind_and_told() {
    let (mut child, lines) = start("stuck");
    let began = Instant::now();
    signal(&child, "-TERM");
    let lines = lines.collect::<Vec<_>>();
    // The group behind it had its share of the time.
    assert_eq!(lines, ["unready", "b finished", "a finished", "c finished"]);
    assert_eq!(exit_code(&mut child), 1);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_task_that_fails_while_stopping_is_not_a_clean_end() {
    let (mut child, lines) = start("fails late");
    signal(&child, "-TERM");
    assert_eq!(lines.last().as_deref(), Some("c finished"));
    assert_eq!(exit_code(&mut child), 1);
}

#[test]
fn a_second_signal_ends_at_once() {
    let (mut child, mut lines) = start("impatient");
    signal(&child, "-TERM");
    assert!(lines.any(|line| line == "unready"));
    let began = Instant::now();
    signal(&child, "-TERM");
    assert_eq!(exit_code(&mut child), 1);
    assert!(began.elapsed() < Duration::from_secs(5));
}
