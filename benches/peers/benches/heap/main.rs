//! What measuring allocates: in a scrape, at rest, per route, and under load that nobody scrapes.

use std::{
    alloc::System,
    process::{Command, Stdio},
};

use axum::{Router, body::Body, routing::get};
use http::Request;
use http_body_util::BodyExt as _;
use scalekit_bench::duel::table;
use scalekit_bench_peers::{
    layers,
    recorders::{SIZES, scraped, series},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::Service as _;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUTES: usize = 100;
const REQUESTS: u32 = 10_000_000;

fn main() {
    // Each layer is measured in a process of its own: what one of them keeps is no other's.
    match std::env::args().skip_while(|argument| argument != "layer").nth(1) {
        Some(at) => print_layer(at.parse().unwrap()),
        None => {
            scrapes();
            layers();
        }
    }
}

fn scrapes() {
    for size in SIZES {
        let rows: Vec<_> = scraped(size)
            .iter()
            .map(|scraped| {
                // The first one may make what later ones use again.
                (scraped.scrape)();
                let region = Region::new(ALLOCATOR);
                let text = (scraped.scrape)();
                let counted = region.change();
                let calls = counted.allocations + counted.reallocations;
                let series = series(&text);
                vec![
                    scraped.name.to_owned(),
                    series.to_string(),
                    format!("**{calls}**"),
                    counted.bytes_allocated.to_string(),
                    text.len().to_string(),
                ]
            })
            .collect();
        table(
            &format!("A scrape of about {size} series: allocations"),
            &["", "series", "allocations", "bytes allocated", "bytes of text"],
            &rows,
        );
    }
}

fn layers() {
    let rows: Vec<_> = (0..layers::ALL.len())
        .map(|at| {
            let mut child = Command::new(std::env::current_exe().unwrap());
            let output = child.args(["layer", &at.to_string()]).stderr(Stdio::inherit()).output().unwrap();
            assert!(output.status.success(), "layer {at}");
            String::from_utf8(output.stdout).unwrap().trim().split('\t').map(str::to_owned).collect()
        })
        .collect();
    table(
        &format!(
            "Memory of a layer on the heap, in bytes; and how {REQUESTS} requests that nobody scrapes add to the process"
        ),
        &["layer", "at rest", "per route", "resident, added"],
        &rows,
    );
}

/// On several threads, so that a layer's own tasks run too.
fn print_layer(at: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut app = Router::new();
        for n in 0..ROUTES {
            app = app.route(&format!("/route/{n}"), get(|| async { "hello" }));
        }
        let bare = app.clone().with_state(());
        let region = Region::new(ALLOCATOR);
        let layered = layers::ALL[at](app);
        let at_rest = grown(&region);
        let mut bare = bare;
        let mut app = layered.app.clone();
        // What the router itself allocates for the first request of a route is not the layer's.
        for n in 0..ROUTES {
            call(&mut bare, n).await;
        }
        let region = Region::new(ALLOCATOR);
        for n in 0..ROUTES {
            call(&mut app, n).await;
        }
        let per_route = grown(&region) / ROUTES;
        tokio::spawn(async move {
            for n in 0..REQUESTS / 100 {
                call(&mut app, n as usize % ROUTES).await;
            }
            let before = resident();
            for n in 0..REQUESTS {
                call(&mut app, n as usize % ROUTES).await;
            }
            let added = resident().saturating_sub(before);
            println!("{}\t{at_rest}\t{per_route}\t**{added}**", layered.name);
        })
        .await
        .unwrap();
    });
}

async fn call(app: &mut Router, route: usize) {
    let request = Request::get(format!("/route/{route}")).body(Body::empty()).unwrap();
    let answer = app.call(request).await.unwrap();
    answer.into_body().collect().await.unwrap();
}

fn grown(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.bytes_allocated.saturating_sub(change.bytes_deallocated)
}

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}
