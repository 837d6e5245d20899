//! Selects steps and runs them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::Result;
use crate::beside::{self, Beside};
use crate::steps::{Lane, STEPS, Step};
use crate::totals;
use crate::workspace::Workspace;

/// Step that a complete run leaves to its builds: see [`Workspace::lint_builds`].
const LINT: &str = "lint";

/// Returns one line about each step.
pub(crate) fn list() -> String {
    STEPS.iter().fold(String::new(), |mut text, step| {
        let _ = writeln!(text, "{:<12} {}", step.name, step.about);
        text
    })
}

/// Returns the named steps, or the steps from `from` on, or all steps. Each step is run once, in the order of `STEPS`,
/// because a later step may read the results of an earlier one.
pub(crate) fn select(names: &[String], from: Option<&str>) -> Vec<&'static Step> {
    let steps = STEPS.iter().skip_while(|step| from.is_some_and(|first| step.name != first));
    steps.filter(|step| names.is_empty() || names.iter().any(|name| name == step.name)).collect()
}

/// Runs steps, prints their wall times, and returns the error of the first step that fails.
pub(crate) fn run(steps: &[&'static Step]) -> Result {
    let workspace = Workspace::open()?;
    if steps.len() == STEPS.len() {
        return run_all(&workspace, steps);
    }
    let mut times = Vec::new();
    for step in steps {
        run_one(&workspace, step, &mut times)?;
    }
    if steps.last().is_some_and(|step| step.name != totals::STEP) {
        println!();
        print_times(&times);
    }
    Ok(())
}

/// Runs all steps, each in its lane.
fn run_all(workspace: &Workspace, steps: &[&'static Step]) -> Result {
    totals::remove_logs(workspace)?;
    workspace.lint_builds();
    let of_lane = |lane| steps.iter().copied().filter(move |step| step.lane == lane);
    let program = beside::copy_program(workspace)?;
    let mut beside = vec![Beside::steps(workspace, &program, Lane::NoBinaries, of_lane(Lane::NoBinaries))?];
    let (mut times, mut build) = (Vec::new(), None);
    // In a complete run, clippy compiles in the steps with tests.
    for step in of_lane(Lane::Main).filter(|step| step.name != LINT) {
        if step.name == beside::TESTS {
            build = Some(Beside::build(workspace)?);
        }
        for other in &mut beside {
            other.check(workspace)?;
        }
        if step.name == beside::AFTER {
            let began = Instant::now();
            for mut other in beside.drain(..) {
                other.finish(workspace)?;
            }
            times.push(("rest of the other lanes", began.elapsed()));
        }
        run_one(workspace, step, &mut times)?;
        if step.name == beside::TESTS {
            workspace.keep_binaries()?;
            beside.push(Beside::steps(workspace, &program, Lane::WithBinaries, of_lane(Lane::WithBinaries))?);
        }
    }
    drop(build);
    Ok(())
}

/// Runs a step, and adds its wall time.
fn run_one(workspace: &Workspace, step: &Step, times: &mut Vec<(&'static str, Duration)>) -> Result {
    println!("\n== {}", step.name);
    // The totals are the last line.
    if step.name == totals::STEP {
        print_times(times);
    }
    let began = Instant::now();
    (step.run)(workspace).map_err(|error| format!("step {}: {error}", step.name))?;
    times.push((step.name, began.elapsed()));
    Ok(())
}

fn print_times(times: &[(&str, Duration)]) {
    if !times.is_empty() {
        println!("{}", format_times(times));
    }
}

/// Returns the wall time of each step in seconds, and their sum, in one line.
fn format_times(times: &[(&str, Duration)]) -> String {
    let all: Duration = times.iter().map(|(_, time)| *time).sum();
    let each: Vec<String> = times.iter().map(|(name, time)| format!("{name} {:.1} s", time.as_secs_f64())).collect();
    format!("{}; all {:.1} s", each.join(", "), all.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(steps: &[&Step]) -> Vec<&'static str> {
        steps.iter().map(|step| step.name).collect()
    }

    fn selected(steps: &[&str]) -> Vec<&'static str> {
        let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
        names(&select(&steps, None))
    }

    #[test]
    fn all_steps_run_if_none_is_named() {
        assert_eq!(selected(&[]), STEPS.iter().map(|step| step.name).collect::<Vec<_>>());
    }

    #[test]
    fn named_steps_run_once_and_in_order() {
        assert_eq!(selected(&["test", "fmt", "test"]), ["fmt", "test"]);
    }

    #[test]
    fn steps_from_a_step_include_it_and_the_last() {
        let steps = names(&select(&[], Some("ids")));
        assert_eq!(steps, ["ids", "browser", "permissions", "totals"]);
    }

    #[test]
    fn the_names_are_distinct_and_the_list_has_each() {
        let mut names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        assert!(names.iter().all(|name| list().lines().any(|line| line.split(' ').next() == Some(name))));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }

    #[test]
    fn times_are_one_line_with_the_sum() {
        let times = [("fmt", Duration::from_millis(1500)), ("lint", Duration::from_secs(62))];
        assert_eq!(format_times(&times), "fmt 1.5 s, lint 62.0 s; all 63.5 s");
    }
}
