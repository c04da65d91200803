//! Cases that run in turns, and the table of how they compare.

use std::{future::Future, pin::Pin, time::Duration};

use rustix::time::{ClockId, Timespec, clock_gettime};

type Run = Box<dyn FnMut(u32) -> Pin<Box<dyn Future<Output = ()>>>>;

/// One way to do the work.
pub struct Case {
    name: String,
    run: Run,
}

impl Case {
    /// A case whose function does the work `n` times.
    pub fn new<F>(name: impl Into<String>, mut run: impl FnMut(u32) -> F + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        Self { name: name.into(), run: Box::new(move |n| Box::pin(run(n))) }
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a round is measured in.
#[derive(Clone, Copy, Debug)]
pub enum Meter {
    /// CPU time of this thread: what others do on the machine hardly counts.
    Cpu,
    /// Time on the wall, shown as work per second.
    Wall,
}

impl Meter {
    fn now(self) -> Duration {
        let clock = match self {
            Self::Cpu => ClockId::ThreadCPUTime,
            Self::Wall => ClockId::Monotonic,
        };
        let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
        Duration::new(tv_sec.unsigned_abs(), u32::try_from(tv_nsec).unwrap())
    }
}

/// A comparison: what is measured, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Duel {
    /// The heading of its table.
    pub title: &'static str,
    /// What one piece of work is called.
    pub unit: &'static str,
    /// What a round is measured in.
    pub meter: Meter,
    /// How many rounds each case gets.
    pub rounds: usize,
    /// How often a case does its work in a round.
    pub per_round: u32,
}

impl Duel {
    /// Runs the cases in turns and prints their table; the first one is what the others are compared with.
    pub async fn run(&self, mut cases: Vec<Case>) {
        // A round before the first one: caches fill, connections open, scripts load.
        for case in &mut cases {
            (case.run)(self.per_round.div_ceil(4)).await;
        }
        let mut took = vec![Vec::with_capacity(self.rounds); cases.len()];
        for round in 0..self.rounds {
            for turn in 0..cases.len() {
                // Each round begins with another case, so that none always runs after the same one.
                let at = (turn + round) % cases.len();
                let start = self.meter.now();
                (cases[at].run)(self.per_round).await;
                took[at].push((self.meter.now() - start).as_secs_f64() / f64::from(self.per_round));
            }
        }
        self.print(&cases, &took);
    }

    fn print(&self, cases: &[Case], took: &[Vec<f64>]) {
        println!("\n### {}\n", self.title);
        let unit = self.unit;
        let (measured, compared) = match self.meter {
            Meter::Cpu => (format!("CPU per {unit}, best round"), "CPU"),
            Meter::Wall => (format!("{unit}s per second, best round"), "rate"),
        };
        println!(
            "| {} rounds of {} {unit}s | {measured} | {compared} of the best rounds, first row = 1 | {compared}, median of the rounds (middle half) |",
            self.rounds, self.per_round
        );
        println!("|---|---|---|---|");
        for (case, seconds) in cases.iter().zip(took) {
            let ratios = seconds.iter().zip(&took[0]).map(|(own, first)| self.ratio(*own, *first));
            let ratios = sorted(ratios.collect());
            let [low, median, high] = [1, 2, 3].map(|quarter| ratios[ratios.len() * quarter / 4]);
            let shown = match self.meter {
                Meter::Cpu => time(best(seconds)),
                Meter::Wall => format!("{:.0}", 1.0 / best(seconds)),
            };
            let ratio = self.ratio(best(seconds), best(&took[0]));
            println!("| {} | {shown} | {ratio:.2} | **{median:.2}** ({low:.2} to {high:.2}) |", case.name);
        }
    }

    fn ratio(&self, own: f64, first: f64) -> f64 {
        match self.meter {
            Meter::Cpu => own / first,
            Meter::Wall => first / own,
        }
    }
}

/// Runs the parts that the command line names, or all of them.
pub fn run_chosen(parts: &[(&str, fn())]) {
    // Cargo adds `--bench`.
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for name in &chosen {
        assert!(parts.iter().any(|(part, _)| part == name), "there is no part {name:?}");
    }
    for (name, run) in parts {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            run();
        }
    }
}

/// Runs a benchmark on this one thread, tasks included, so that the thread's CPU time is all of it.
pub fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

/// A table of counts: a heading, the names of the columns, the rows.
pub fn table(title: &str, columns: &[&str], rows: &[Vec<String>]) {
    println!("\n### {title}\n\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}

/// The middle one.
pub fn median(numbers: Vec<f64>) -> f64 {
    let numbers = sorted(numbers);
    numbers[numbers.len() / 2]
}

fn best(seconds: &[f64]) -> f64 {
    seconds.iter().copied().fold(f64::INFINITY, f64::min)
}

fn sorted(mut numbers: Vec<f64>) -> Vec<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers
}

fn time(seconds: f64) -> String {
    if seconds < 1e-6 { format!("{:.1} ns", seconds * 1e9) } else { format!("{:.2} µs", seconds * 1e6) }
}
