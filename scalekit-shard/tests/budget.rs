//! A budget accepts exactly what the servers can bear.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use scalekit_core::ErrorKind;
use scalekit_shard::{Budget, Pgbouncer, PoolShare};

/// Opens every connection that the fleet may open and counts them where they end.
fn opened(pools: &[(u8, u32)], processes: u32, beside: u32, server: u8) -> u64 {
    let mut count = 0;
    for _ in 0..processes {
        for (_, max) in pools.iter().filter(|(of, _)| *of == server) {
            count += (0..*max).count() as u64;
            count += (0..beside).count() as u64;
        }
    }
    count
}

fn shares(pools: &[(u8, u32)]) -> Vec<PoolShare> {
    pools.iter().map(|(server, max)| PoolShare::new(format!("db{server}:5432"), *max)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn direct_connections_never_pass_what_a_server_has(
        pools in prop::collection::vec((0_u8..3, 1_u32..20), 1..6),
        processes in 0_u32..8, beside in 0_u32..5, reserve in 0_u32..10, limit in 0_u32..400,
    ) {
        let budget = Budget::direct(limit).with_processes(processes).with_beside(beside).with_reserve(reserve);
        let used = |server| pools.iter().any(|(of, _)| *of == server);
        let fits = (0..3).filter(|server| used(*server)).all(|server| {
            opened(&pools, processes, beside, server) + u64::from(reserve) <= u64::from(limit)
        });
        prop_assert_eq!(budget.check(&shares(&pools)).is_ok(), fits);
    }

    #[test]
    fn behind_pgbouncer_all_three_bounds_hold_or_it_is_refused(
        pools in prop::collection::vec((0_u8..1, 1_u32..20), 1..6),
        processes in 1_u32..8, size in 1_u32..40, clients in 1_u32..400, instances in 1_u32..4, limit in 1_u32..400,
    ) {
        let pgbouncer = Pgbouncer { default_pool_size: size, max_client_conn: clients, instances };
        let budget = Budget::behind(pgbouncer, limit).with_processes(processes).with_beside(2);
        let pairs = u32::try_from(pools.len()).unwrap();
        let fits = pools.iter().all(|(_, max)| *max < size)
            && opened(&pools, processes, 2, 0) <= u64::from(clients * instances)
            && size * pairs * instances + 3 <= limit;
        prop_assert_eq!(budget.check(&shares(&pools)).is_ok(), fits);
    }
}

#[test]
fn every_bound_that_fails_is_in_the_message() {
    let pgbouncer = Pgbouncer { default_pool_size: 10, max_client_conn: 100, instances: 2 };
    let budget = Budget::behind(pgbouncer, 50).with_processes(30);
    let error =
        budget.check(&[PoolShare::new("a:1", 10), PoolShare::new("a:1", 4), PoolShare::new("b:1", 4)]);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.to_string(),
        "the connections do not fit: a:1: pool_max 10 >= 10 default_pool_size; \
         a:1: 30 processes x (10 + 0 + 4 + 0) = 420 > 100 max_client_conn x 2 instances = 200"
    );
}

#[test]
fn absurd_numbers_neither_overflow_nor_fit() {
    let pools = vec![PoolShare::new("a:1", u32::MAX); 3];
    let budget =
        Budget::direct(u32::MAX).with_processes(u32::MAX).with_beside(u32::MAX).with_reserve(u32::MAX);
    assert!(budget.check(&pools).is_err());
    let pgbouncer = Pgbouncer { default_pool_size: u32::MAX, max_client_conn: u32::MAX, instances: u32::MAX };
    assert!(Budget::behind(pgbouncer, u32::MAX).check(&pools).is_err());
}
