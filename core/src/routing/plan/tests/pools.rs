//! Choices within a pool, and how a pool comes back.

use super::*;

#[test]
fn one_that_is_back_gets_a_growing_share_also_of_its_region() {
    let mut group = Group::of(&["eu", "us"]);
    let back = now();
    group.health[0].circuit().close(back);
    let share_at = |group: &mut Group, seconds: u64| {
        let at = back.plus(Duration::from_secs(seconds));
        let home = |_: &usize| {
            matches!(
                group.decide_at(&ask(), at).plan,
                Plan::Send(Choice { index: 0, .. })
            )
        };
        (0..1_000).filter(home).count()
    };
    assert!((20..100).contains(&share_at(&mut group, 0)));
    assert!((420..580).contains(&share_at(&mut group, 5)));
    assert_eq!(share_at(&mut group, 10), 1_000);
    let fresh = Group::of(&["eu", "us"]).decide_at(&ask(), start());
    assert_eq!(
        fresh.skips[1],
        Some(Skip::FartherRegion),
        "all new is not ramping"
    );
}

#[test]
fn conversations_stay_and_come_back_one_by_one() {
    let mut group = Group::of(&["eu"; 4]);
    let on = AffinityPolicy::On {
        prefix_bytes: 64,
        load_max: 1.25,
    };
    group.policy.affinity = on;
    let keys: Vec<AffinityKey> = (0..200)
        .filter_map(|n| AffinityKey::of(&on, b"t", Some(&format!("{n}")), b""))
        .collect();
    let home_of = |group: &mut Group, key, at| match group
        .decide_at(
            &Ask {
                affinity: Some(key),
                ..ask()
            },
            at,
        )
        .plan
    {
        Plan::Send(choice) => choice.index,
        other => panic!("{other:?}"),
    };
    let homes: Vec<usize> = keys
        .iter()
        .map(|key| home_of(&mut group, *key, now()))
        .collect();
    let again: Vec<usize> = keys
        .iter()
        .map(|key| home_of(&mut group, *key, now()))
        .collect();
    assert_eq!(homes, again);
    group.health[1].circuit().close(now());
    let mut back = Vec::new();
    for seconds in 0..=10 {
        let at = now().plus(Duration::from_secs(seconds));
        let there = keys
            .iter()
            .filter(|key| home_of(&mut group, **key, at) == 1)
            .count();
        back.push(there);
    }
    assert!(back.windows(2).all(|pair| pair[0] <= pair[1]), "{back:?}");
    assert!(back[1] < back[10] / 3, "{back:?}");
    assert_eq!(back[10], homes.iter().filter(|home| **home == 1).count());
}

#[test]
fn strategies_choose_what_their_names_say() {
    let mut group = Group::of(&["eu"; 3]);
    let running = [group.run(0, 2), group.run(1, 1)];
    group.policy.strategy = Strategy::LeastBusy;
    assert_eq!(group.indices(&ask()), [2].into());
    drop(running);
    assert_eq!(group.indices(&ask()).len(), 3, "equal ones share");
    for (index, tokens) in [30, 10, 20].into_iter().enumerate() {
        let begin = Flight::begin(
            &group.health[index],
            Entry::Usual,
            WALL,
            (tokens, Awaited::Whole),
            (now(), &group.policy.cooldown),
        );
        drop(begin);
    }
    group.policy.strategy = Strategy::UsageBased;
    assert_eq!(group.indices(&ask()), [1].into());
    group.policy.strategy = Strategy::CostBased;
    group.facts[0].price = Some(2.0);
    group.facts[2].price = Some(1.0);
    assert_eq!(group.indices(&ask()), [2].into());
    group.policy.strategy_of_group = [("m".to_owned(), Strategy::UsageBased)].into();
    assert_eq!(group.indices(&ask()), [1].into());
}

#[test]
fn a_shuffle_goes_by_weight_then_limits_then_evenly() {
    let share = |group: &mut Group| {
        (0..3_000)
            .filter(|_| group.choice(&ask()).index == 0)
            .count()
    };
    let mut group = Group::of(&["eu", "eu"]);
    assert!((1_350..1_650).contains(&share(&mut group)));
    group.facts[0].limits.tpm = Some(1_000_000);
    group.facts[1].limits.tpm = Some(3_000_000);
    assert!((650..850).contains(&share(&mut group)));
    group.facts[0].limits.rpm = Some(900_000);
    group.facts[1].limits.rpm = Some(100_000);
    assert!((2_600..2_800).contains(&share(&mut group)));
    group.facts[0].weight = Some(0.0);
    assert_eq!(share(&mut group), 0);
    assert_eq!(
        group
            .choice(&Ask {
                tried: &[1],
                ..ask()
            })
            .index,
        0
    );
}

#[test]
fn the_better_of_two_wins_and_a_buffer_makes_equals() {
    let mut group = Group::of(&["eu", "eu"]);
    for (index, millis) in [100, 130].into_iter().enumerate() {
        let policy = &group.policy.cooldown;
        let around = Surroundings {
            policy,
            decay: Duration::from_secs(10),
            time: None,
            others: true,
            dice: 0.5,
        };
        let sent = now();
        let mut flight = Flight::begin(
            &group.health[index],
            Entry::Usual,
            WALL,
            (0, Awaited::FirstToken),
            (sent, policy),
        )
        .unwrap();
        flight.first_token(sent.plus(Duration::from_millis(millis)), &around);
        flight.finished(
            sent.plus(Duration::from_millis(millis)),
            (None, None),
            &around,
        );
    }
    group.policy.strategy = Strategy::LatencyBased(LatencyArgs::default());
    assert_eq!(group.indices(&ask()), [0].into());
    group.policy.strategy = Strategy::LatencyBased(LatencyArgs {
        buffer: 0.5,
        ..LatencyArgs::default()
    });
    assert_eq!(group.indices(&ask()), [0, 1].into());
}
