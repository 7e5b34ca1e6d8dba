use super::*;

const AT: i64 = 1_704_164_645_678_000; // 2024-01-02T03:04:05.678Z

fn cursor(change: impl FnOnce(&mut Cursor)) -> Cursor {
    let mut cursor = Cursor { field: "at".into(), ..Cursor::default() };
    change(&mut cursor);
    cursor
}

#[test]
fn bounds_are_written_as_the_app_reads_them_and_leave_nothing_out() {
    let dated = |c: &mut Cursor| c.datetime_format = Some("%Y-%m-%d".into());
    for (name, cursor, lower, upper) in [
        ("ISO", cursor(|_| ()), "2024-01-02T03:04:05.678Z", "2024-01-02T03:04:05.678Z"),
        ("Unix", cursor(|c| c.format = Format::Unix), "1704164645", "1704164646"),
        ("Unix ms", cursor(|c| c.format = Format::UnixMs), "1704164645678", "1704164645678"),
        (
            "RFC 2822",
            cursor(|c| c.format = Format::Rfc2822),
            "Tue, 02 Jan 2024 03:04:05 +0000",
            "Tue, 02 Jan 2024 03:04:06 +0000",
        ),
        ("days", cursor(dated), "2024-01-02", "2024-01-02"),
        (
            "days that leave out their ends",
            cursor(|c| {
                dated(c);
                c.exclusive = true;
                c.upper_exclusive = true
            }),
            "2024-01-01",
            "2024-01-03",
        ),
        (
            "days west of Greenwich",
            cursor(|c| {
                dated(c);
                c.zone = Some("-06:00".into())
            }),
            "2024-01-01",
            "2024-01-01",
        ),
        (
            "days somewhere",
            cursor(|c| {
                dated(c);
                c.zone = Some("America/Chicago".into())
            }),
            "2024-01-01",
            "2024-01-03",
        ),
        (
            "seconds, cut to days by the app",
            cursor(|c| {
                c.format = Format::Unix;
                c.granularity = Granularity::Day
            }),
            "1704153600",
            "1704240000",
        ),
        (
            "and compared with >",
            cursor(|c| {
                c.format = Format::Unix;
                c.granularity = Granularity::Day;
                c.exclusive = true
            }),
            "1704067200",
            "1704240000",
        ),
        (
            "seconds compared with > and <",
            cursor(|c| {
                c.format = Format::Unix;
                c.exclusive = true;
                c.upper_exclusive = true
            }),
            "1704164644",
            "1704164646",
        ),
        (
            "local time",
            cursor(|c| {
                c.datetime_format = Some("%Y-%m-%dT%H:%M:%S".into());
                c.zone = Some("-06:00".into())
            }),
            "2024-01-01T21:04:05",
            "2024-01-01T21:04:06",
        ),
        (
            "Twilio's messages",
            cursor(|c| c.datetime_format = Some("%Y-%m-%d %H:%M:%SZ".into())),
            "2024-01-02 03:04:05Z",
            "2024-01-02 03:04:06Z",
        ),
    ] {
        assert_eq!(bound(&cursor, AT, false), lower, "{name}");
        assert_eq!(bound(&cursor, AT, true), upper, "{name}, upper");
    }
    let exact = cursor(|c| {
        c.format = Format::Unix;
        c.upper_exclusive = true
    });
    assert_eq!(bound(&exact, 1_704_164_645_000_000, true), "1704164646", "what is equal is wanted, too");
    let plain = cursor(|_| ());
    for (filter, want) in
        [("unix", "1704164645"), ("unix_ms", "1704164645678"), ("iso", "2024-01-02T03:04:05Z"), ("date", "2024-01-02")]
    {
        assert_eq!(spelled(&plain, filter, AT, false), want);
    }
}
