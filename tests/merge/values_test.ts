/**
 * What a cell means: dates in every order, words for a time or for null, numbers with a comma. Nothing that has two
 * meanings is read; the expected values are worked out by hand.
 */
import assert from "node:assert/strict";
import { chance } from "../support/chance.ts";
import { freshDatabase } from "../support/database.ts";
import { serve } from "../support/web.ts";

interface Case {
  type: string;
  feed?: Record<string, unknown>;
  /** More of the table. */
  sql?: string;
  /** What the cell says, and the value as Postgres prints it; null for null. */
  read?: Record<string, string | null>;
  /** Cells that are rejects, and their reason. */
  refused?: [reason: RegExp, ...cells: string[]][];
}

const order = /^is a date in an order that etl\.feeds\.date_order must name$/;
const no = (type: string) => new RegExp(`^(is no|is out of the range of) ${type}$`);
const zone = /^has a zone of letters and a sign, which some read the other way round: \+02 is sure$/;
const unzoned = /^has no zone, and that of its place is another one in summer: \+02 is sure$/;
const several = /^has a zone of letters that means several, if it is not that of etl\.feeds\.time_zone: \+02 is sure$/;
const words = ["now", "today", "tomorrow", "yesterday", "epoch", "infinity", "-infinity", " NOW ", "Today"];
const feed = (date_order: string) => ({ date_order });

const cases: Record<string, Case> = {
  "a date without an order": {
    type: "date",
    read: {
      "2024-03-04": "2024-03-04",
      "2024/03/04": "2024-03-04",
      "2024.03.04": "2024-03-04",
      "2024-3-4": "2024-03-04",
      "20240304": "2024-03-04",
      "4 March 2024": "2024-03-04",
      "March 4, 2024": "2024-03-04",
      "4-Mar-2024": "2024-03-04",
      "Mon Mar 04 10:30:00 2024": "2024-03-04",
      "2024-03-04T10:30:00Z": "2024-03-04",
      "0999-01-02": "0999-01-02",
      "": null,
    },
    refused: [
      [
        order,
        "03/04/2024",
        "31/12/2021",
        "05.06.2024",
        "03-04-2024",
        "3/4/24",
        "03/04/24",
        "3.4.24",
        "3-4-24",
        "24-03-04",
        "3 4 24",
      ],
      [
        order,
        "240304",
        "200112",
        "4-Mar-24",
        "04 Mar 24",
        "Mar 4, 24",
        "Sept-04-24",
        "June-04-24",
        "24-Mar-04",
        "3/4/2024",
      ],
      [order, "Apr 4 '24", "4 Apr '24", "Apr 4, '24", "04APR24", "3/4/0024", "3/4/024"],
      [no("date"), ...words, "2024-02-30", "2024-13-01", "soon", "allballs", "12"],
      [no("date"), "3,4,24", "Wed 3 4 24", "10:00 3 4 24", "3 4/24", "4 Apr", "Apr 2024", "2024"],
    ],
  },
  // Offsets are those of July 2021. Postgres has IST as Israel's, CST and PST as America's, BST as London's.
  ...Object.fromEntries(
    ([
      [
        "UTC",
        { UTC: "10", GMT: "10", CEST: "08", JST: "01", EST: "15", PDT: "17", "Asia/Kolkata": "04:30", MSK: "07" },
        [
          "IST",
          "BST",
          "ist",
          "SST",
          "(GST)",
        ],
      ],
      ["America/New_York", { EDT: "14", CDT: "15", "Asia/Shanghai": "02", CET: "09" }, ["IST", "BST", "GST"]],
      ["Asia/Kolkata", { UTC: "10", CET: "09", PDT: "17" }, ["IST", "CST", "EST", "BST"]],
      ["Asia/Shanghai", { UTC: "10" }, ["CST", "CDT", "IST"]],
      ["Asia/Manila", { GMT: "10" }, ["PST", "CST"]],
      ["America/Havana", { UTC: "10", EDT: "14" }, ["CST", "CDT"]],
      ["Asia/Jerusalem", { IST: "08", IDT: "07", EST: "15" }, ["BST"]],
      ["Europe/Berlin", { EST: "15", PST8PDT: "17", CEST: "08" }, ["BST", "IST"]],
      ["Europe/London", { BST: "09", EST: "15" }, ["IST"]],
      ["Europe/Dublin", { GMT: "10" }, ["IST", "BST"]],
      ["Asia/Dhaka", { UTC: "10" }, ["BST", "BDT"]],
    ] as [string, Record<string, string>, string[]][]).flatMap(([time_zone, read, refused]) => {
      const cell = (word: string) => `2021-07-01 10:00 ${word}`;
      const utc = (hour: string) => `2021-07-01 ${hour.length > 2 ? hour : `${hour}:00`}:00+00`;
      return [
        [`zones by letters in ${time_zone}`, {
          type: "timestamptz",
          feed: { time_zone },
          read: Object.fromEntries(Object.entries(read).map(([word, hour]) => [cell(word), utc(hour)])),
          refused: [[several, ...refused.map(cell)]],
        }],
        [`zones by letters in ${time_zone}, in a range`, {
          type: "tstzrange",
          feed: { time_zone },
          refused: [[several, ...refused.map((word) => `["${cell(word)}",)`)]],
        }],
        [`zones by letters in ${time_zone}, where they say nothing`, {
          type: "timestamp",
          feed: { time_zone },
          read: Object.fromEntries(
            refused.filter((word) => !/[SG]ST/.test(word)).map((word) => [cell(word), `2021-07-01 10:00:00`]),
          ),
        }],
      ] as [string, Case][];
    }),
  ),
  // Postgres reads 1625140101 as 162514-01-01.
  "numbers that are no date": {
    type: "date",
    read: {
      "20240304": "2024-03-04",
      "2021-182": "2021-07-01",
      "2021-365": "2021-12-31",
      "2020-366": "2020-12-31",
      "2000-366": "2000-12-31",
    },
    refused: [
      [no("date"), "1625140101", "1625141231", "162514010", "1625140101000", "20210701101112", "2021101", "2021182"],
      [no("date"), "2021.182", "J2459396", "44378", "44378.5", "1625140101.5", "12021-07-01", "2021-W26-4"],
      // Postgres counts on into the next year.
      [no("date"), "2021-366", "1900-366", "2021-367", "2020-367", "2021-000", "2021-999", "2021W26", "2021W264"],
    ],
  },
  "what stands around a date": {
    type: "date",
    read: {
      " 2021-07-01 ": "2021-07-01",
      "2021-07-01Z": "2021-07-01",
      "2021-07-01+02:00": "2021-07-01",
      "0044-03-15 BC": "0044-03-15 BC",
      "Thu, 1 July 2021": "2021-07-01",
      "01JUL2021": "2021-07-01",
      "2021-Jul-01": "2021-07-01",
    },
    refused: [
      [no("date"), "2021-07-01 -", "- 2021-07-01", "(2021-07-01)", "2021-07-01;", "2021-07-01 - 2021-07-03"],
      [no("date"), "2021-07-01/2021-07-03", "2021-07-01 UTC+2", "2021-07-01-05:00", "2021-07-01 -2:00:00 "],
      // As long as what is usual, with its signs where they are.
      [
        no("date"),
        "2021-07-01 -2:00:00",
        "2021-07-01   :00:00",
        "2021-07-1-",
        "2 11-1,-11",
        "1999--1--2",
        "199--10-11",
        "2021-07-01\u0001",
        "2021-07-01\u00012021-07-02",
      ],
    ],
  },
  "a date, the day first": {
    type: "date",
    feed: feed("dmy"),
    read: {
      "03/04/2024": "2024-04-03",
      "31/12/2021": "2021-12-31",
      "05.06.2024": "2024-06-05",
      "3-4-2024": "2024-04-03",
      "3/4/24": "2024-04-03",
      "04-Mar-24": "2024-03-04",
      "4 Mar '24": "2024-03-04",
      "Mar 4, '24": "2024-03-04",
      "3 4 24": "2024-04-03",
      "Wed 3 4 24": "2024-04-03",
      "01.07.2021.": "2021-07-01",
      "2024-03-04": "2024-03-04",
      "20240304": "2024-03-04",
    },
    refused: [
      [no("date"), "12/31/2021", "29/02/2023", ...words],
      [no("date"), "030421", "311221", "3,4,24", "3 4/24", "3/4/024", "3/4/2", "1625140101", "2021101"],
    ],
  },
  "a date, the month first": {
    type: "date",
    feed: feed("mdy"),
    read: {
      "03/04/2024": "2024-03-04",
      "12/31/2021": "2021-12-31",
      "3.4.24": "2024-03-04",
      "Apr 4 '24": "2024-04-04",
      "2024-03-04": "2024-03-04",
    },
    refused: [[no("date"), "31/12/2021", "040321", "123121", "3,4,24", "1625140101", ...words]],
  },
  "a date, the year first": {
    type: "date",
    feed: feed("ymd"),
    read: { "24/03/04": "2024-03-04", "2024/3/4": "2024-03-04", "240304": "2024-03-04" },
    refused: [
      [no("date"), "03/04/2024", "31/12/2021", ...words],
      // Whose year is last, and what is no year.
      [no("date"), "Apr 4 '24", "4 Apr '24", "Apr 4, 24", "3/4/24", "3 4 24", "0240304", "202403041"],
    ],
  },
  "a time without an order": {
    type: "timestamptz",
    feed: { time_zone: "America/New_York" },
    read: {
      "2024-07-01 14:05": "2024-07-01 18:05:00+00",
      "2024-07-01T14:05:06.789Z": "2024-07-01 14:05:06.789+00",
      "2024-07-01 14:05:06-05": "2024-07-01 19:05:06+00",
      "2024-07-01 14:05:06 +0530": "2024-07-01 08:35:06+00",
      "20240701T140506": "2024-07-01 18:05:06+00",
      "1 July 2024 2:05 PM": "2024-07-01 18:05:00+00",
      "Jul 1 2024 14:05:06.123456": "2024-07-01 18:05:06.123456+00",
      "2024-07-01": "2024-07-01 04:00:00+00",
      "2024-07-01  9:05": "2024-07-01 13:05:00+00",
      "20240701 140506": "2024-07-01 18:05:06+00",
      "2024-07-01T1405": "2024-07-01 18:05:00+00",
      "Mon Jul 01 14:05:06 +0000 2024": "2024-07-01 14:05:06+00",
      "Mon Jul  1 14:05:06 UTC 2024": "2024-07-01 14:05:06+00",
      "01/Jul/2024:14:05:06 +0000": "2024-07-01 14:05:06+00",
      "July 1, 2024 at 2:05 PM": "2024-07-01 18:05:00+00",
      "July 1, 2024, 2:05:06 PM": "2024-07-01 18:05:06+00",
      "": null,
    },
    refused: [
      [
        order,
        "7/1/2021 14:05",
        "01.07.2024 14:05",
        "7/1/24 14:05:06.123456",
        "14:05 1/7/24",
        "1-Jul-24 14:05",
        "240701T140506",
      ],
      [no("timestamp with time zone"), ...words, "today 10:00", "04:05 tomorrow", "2024-07-01 25:00"],
    ],
  },
  "zones of a time": {
    type: "timestamptz",
    read: {
      "2021-07-01 10:00:00+02": "2021-07-01 08:00:00+00",
      "2021-07-01 10:00:00 +02:00": "2021-07-01 08:00:00+00",
      "2021-07-01 10:00+0200": "2021-07-01 08:00:00+00",
      "2021-07-01T10:00:00.123456+02:00": "2021-07-01 08:00:00.123456+00",
      "2021-07-01T10:00-05:00": "2021-07-01 15:00:00+00",
      "2021-07-01 10:00 -0500": "2021-07-01 15:00:00+00",
      "2021-07-01 10:00:00-05": "2021-07-01 15:00:00+00",
      "2021-07-01 10:00Z": "2021-07-01 10:00:00+00",
      "2021-07-01 10:00 UTC": "2021-07-01 10:00:00+00",
      "2021-07-01 10:00:00 EST": "2021-07-01 15:00:00+00",
      "2021-07-01 10:00 AM EST": "2021-07-01 15:00:00+00",
      "2021-07-01 10:00 Etc/GMT+5": "2021-07-01 15:00:00+00",
      "2021-07-01 10:00 EST5EDT": "2021-07-01 14:00:00+00",
      "2021-07-01 10:00 America/Port-au-Prince": "2021-07-01 14:00:00+00",
      "2021-07-01 10:00 America/North_Dakota/New_Salem": "2021-07-01 15:00:00+00",
    },
    refused: [
      [zone, "2021-07-01 10:00:00 UTC+2", "2021-07-01 10:00 GMT+02:00", "2021-07-01 10:00:00 (UTC+02:00)"],
      [
        zone,
        "2021-07-01T10:00:00UTC+2",
        "2021-07-01 10:00 UTC -5",
        "2021-07-01 10:00 AM utc+2",
        "1 July 2021 10:00 Z+2",
      ],
      [zone, "Thu Jul 01 2021 10:00:00 GMT+0200 (CEST)", "2021-07-01 10:00 Europe/Berlin+2", "2021-07-01 10:00 EST+5"],
      [no("timestamp with time zone"), "2021-07-01 10:00 UTC2", "2021-07-01 10:00 AAA5BBB", "2021-07-01 10:00 <-05>5"],
    ],
  },
  "two times, and what is no time": {
    type: "timestamptz",
    read: { "2021-07-01 10:00:00": "2021-07-01 10:00:00+00" },
    refused: [
      [no("timestamp with time zone"), "2021-07-01 09:00 - 12:00", "2021-07-01 09:00-12:00", "2021-07-01 09:00 -12"],
      [
        no("timestamp with time zone"),
        "2021-07-01 09:00:00 - 12:00:00",
        "2021-07-01 09:00 12:00",
        "2021-07-01 10:00 -",
      ],
      // Ten minutes and half a second, to Postgres.
      [no("timestamp with time zone"), "2021-07-01 10:00.5", "2021-07-01 10", "2021-07-01 10.30", "1625141231"],
      [no("timestamp with time zone"), "2021-07-01 10:00 EST DST", "2021-07-01T", "2021-07-01 10:00:00,5", "10:00"],
      [no("timestamp with time zone"), "2021-07-01 -2:00:00", "2021-07-01 +2:00:00", "2021-07-01   :00:00"],
      [no("timestamp with time zone"), "2021-07-01T-0:00:00Z", "2021-07-01T10:00:0aZ", "2021-07-01 10:00:0 "],
      [no("timestamp with time zone"), "2021-07-01T10:00:00.1a2Z", "2021-07-01 10:00:00+ 2", "2021-07-01 10:00:.0+02"],
    ],
  },
  "a time without a zone, the day first": {
    type: "timestamp",
    feed: feed("dmy"),
    read: { "01/07/2024 14:05": "2024-07-01 14:05:00", "1/7/24 2:05 PM": "2024-07-01 14:05:00" },
    refused: [
      [no("timestamp without time zone"), "07/31/2024 14:05", ...words],
      [no("timestamp without time zone"), "2021-07-01 -2:00:00", "2021-07-01 10:+0:00", "2021-07-01T10:00:0,"],
    ],
  },
  "a time of day": {
    type: "time",
    read: {
      "14:05": "14:05:00",
      "14:05:06": "14:05:06",
      "2:05 PM": "14:05:00",
      "T14:05": "14:05:00",
      "14:05+02": "14:05:00",
      "1899-12-30 14:05:06.5": "14:05:06.5",
    },
    refused: [
      [no("time without time zone"), "now", "allballs", "today", "25:00"],
      [no("time without time zone"), "09:00 - 12:00", "09:00-12:00", "09:00 -12", "J2459396 10:00", "10:30.5", "10"],
      [zone, "10:30 UTC+2", "10:30:00 GMT-05:00"],
    ],
  },
  "a time of day with a zone": {
    type: "timetz",
    read: {
      "10:30+02": "10:30:00+02",
      "10:30:00-05:00": "10:30:00-05",
      "10:30 PM EST": "22:30:00-05",
      "1030": "10:30:00+00",
    },
    refused: [[zone, "10:30 UTC+2", "10:30 (UTC+2)"], [no("time with time zone"), "09:00 - 12:00", "10:30 UTC2"]],
  },
  "a time of day with a zone, where the clocks change": {
    type: "timetz",
    feed: { time_zone: "CET" },
    read: { "10:30+02": "10:30:00+02", "10:30Z": "10:30:00+00", "2021-07-01 10:30": "10:30:00+02" },
    refused: [[unzoned, "10:30", "10:30:00.5", "1030", "10:30 PM", "T10:30:00"], [no("time with time zone"), "now"]],
  },
  "a time of day with a zone, where the clocks never change": {
    type: "timetz",
    feed: { time_zone: "Asia/Kolkata" },
    read: { "10:30": "10:30:00+05:30" },
    refused: [[no("time with time zone"), "10:30.5"]],
  },
  "times of day in an array, where the clocks change": {
    type: "timetz[]",
    feed: { time_zone: "America/New_York" },
    read: { "{10:30-0500,11:30:00+02}": "{10:30:00-05,11:30:00+02}", "{}": "{}" },
    refused: [[unzoned, "{10:30}", "{10:30:00-05,11:30}"]],
  },
  "times of day in a composite, where the clocks change": {
    sql: "create type t.c as (name text, at timetz, local time);",
    type: "t.c",
    feed: { time_zone: "America/New_York" },
    read: { "(10:30,10:30-0500,10:30)": "(10:30,10:30:00-05,10:30:00)" },
    refused: [[no("t\\.c"), "(a,10:30,)", '(a,"10:30 PM",)']],
  },
  "a span of time": {
    type: "interval",
    read: {
      "3 days": "3 days",
      "1:30": "01:30:00",
      "25:10:00": "25:10:00",
      "P1DT2H": "1 day 02:00:00",
      "P0001-02-03T04:05:06": "1 year 2 mons 3 days 04:05:06",
      "1-2 3 4:05:06": "1 year 2 mons 3 days 04:05:06",
      "1h30m": "01:30:00",
      "1.5 hours": "01:30:00",
      "1 day -2 hours": "1 day -02:00:00",
      "-1 day +2:03": "-1 days +02:03:00",
      "90": "00:01:30",
      "1 12:59:10": "1 day 12:59:10",
      "1 day, 2 hours": "1 day 02:00:00",
      "1 day; 2 hours": "1 day 02:00:00",
      "- 1 day": "-1 days",
      "1:2": "01:02:00",
      "0:5:3": "00:05:03",
      "1 day 2:3:4": "1 day 02:03:04",
      "12:34:56 ago": "-12:34:56",
      "@ 1 min ago": "-00:01:00",
      "PT0.5H": "00:30:00",
      "P1Y2M3W4DT5H6M7.5S": "1 year 2 mons 25 days 05:06:07.5",
    },
    refused: [
      [no("interval"), "infinity", "-infinity", "now"],
      // An hour and a half, five hours, a year and two seconds.
      [no("interval"), "1:30 min", "1:30h", "5:00 days", "1 5:00 days", "1 day 5:00 hours", "1- 2", "1-2 3", "1h:30"],
      [no("interval"), "1 d 2", "1 week 2", "1 day 2-3", "1 day - 2 hours", "10:00.5", "P1", "PT", "PT10", "P1-2"],
      // To Postgres a day and five hours, an hour and 30 seconds, two years and three days.
      [no("interval"), "1,5 hours", "1h30", "1h 30", "1 day 5", "2-3 days", "5-10 min", "09:00 - 12:00"],
    ],
  },
  "dates in an array": {
    type: "date[]",
    read: {
      "{2024-03-04,NULL}": "{2024-03-04,NULL}",
      '{"March 4, 2024", 2024-03-05}': "{2024-03-04,2024-03-05}",
      "{{2024-03-04},{2024-03-05}}": "{{2024-03-04},{2024-03-05}}",
      "[0:1]={2024-03-04,2024-03-05}": "[0:1]={2024-03-04,2024-03-05}",
      "{}": "{}",
      "": null,
    },
    refused: [
      [order, "{03/04/2024}", "{2024-03-04,3/4/24}", "{240304}", '{"4-Mar-24"}'],
      [no("date\\[\\]"), "{now}", "{2024-03-04,today}", "{infinity}"],
      [no("date\\[\\]"), "{1625140101}", "{2024-03-04,2021101}", "{J2459396}", "{2024-03-04 2024-03-05}"],
    ],
  },
  "dates in an array, the day first": {
    type: "date[]",
    feed: feed("dmy"),
    read: { "{03/04/2024,3/4/24}": "{2024-04-03,2024-04-03}" },
    refused: [[no("date\\[\\]"), "{030421}"]],
  },
  "times in arrays and ranges, with their zones": {
    type: "tstzrange[]",
    read: {
      '{"[2021-07-01 10:00:00+02,\\"2021-07-01 10:00 UTC\\")"}':
        '{"[\\"2021-07-01 08:00:00+00\\",\\"2021-07-01 10:00:00+00\\")"}',
    },
    refused: [
      [zone, '{"[2021-07-01 10:00 UTC+2,)"}'],
      [no("tstzrange\\[\\]"), '{"[2021-07-01 09:00 - 12:00,)"}', '{"[1625141231,)"}', '{"[2021-07-01 10:00 UTC2,)"}'],
    ],
  },
  "times of day in an array": {
    type: "timetz[]",
    read: { "{10:30,11:30:00+02}": "{10:30:00+00,11:30:00+02}" },
    refused: [[zone, "{10:30 UTC+2}"], [no("time with time zone\\[\\]"), "{09:00 - 12:00}", "{now}"]],
  },
  "spans of time in an array": {
    type: "interval[]",
    read: { "{3 days,1:30,900000}": '{"3 days",01:30:00,250:00:00}' },
    refused: [
      [no("interval\\[\\]"), "{infinity}", "{now}"],
      [no("interval\\[\\]"), "{1h30}", '{"1,5 hours"}', '{"2-3 days"}', '{3 days,"1:30 min"}', "{{1- 2}}"],
    ],
  },
  "a domain over a time with a zone": {
    sql: "create domain t.z as timestamptz;",
    type: "t.z",
    read: { "2021-07-01 10:00+02": "2021-07-01 08:00:00+00" },
    refused: [[zone, "2021-07-01 10:00 UTC+2"], [no("t\\.z"), "1625141231"]],
  },
  "dates in a range": {
    type: "daterange",
    read: { "[2024-03-04,2024-03-06)": "[2024-03-04,2024-03-06)", "[2024-03-04,)": "[2024-03-04,)", "empty": "empty" },
    refused: [[order, "[03/04/2024,04/04/2024]", "[3/4/24,)"], [no("daterange"), "[today,)", "[2024-03-04,infinity)"]],
  },
  "dates in ranges, the month first": {
    type: "tsmultirange",
    feed: feed("mdy"),
    read: { "{[03/04/2024 1:00,03/05/2024 2:00)}": '{["2024-03-04 01:00:00","2024-03-05 02:00:00")}' },
    refused: [[no("tsmultirange"), "{[now,)}"]],
  },
  "a domain over a date, in a domain": {
    sql: "create domain t.d as date; create domain t.e as t.d check (value > '2000-01-01');",
    type: "t.e",
    read: { "2024-03-04": "2024-03-04" },
    refused: [[order, "03/04/2024", "3/4/24"], [no("t\\.e"), "now"], [/^breaks a rule of t\.e$/, "1999-01-01"]],
  },
  "a composite of a date and a text": {
    sql: "create type t.c as (name text, at date);",
    type: "t.c",
    read: { "(snow,2024-03-04)": "(snow,2024-03-04)" },
    refused: [
      [order, "(a,3/4/24)"],
      [no("t\\.c"), "(a,now)", "(a,1625140101)", "(a,2021101)", "(a,J2459396)", "(a,2021-366)"],
    ],
  },
  "a composite of a time and a number": {
    sql: "create type t.c as (at timestamptz, n int);",
    type: "t.c",
    read: { '("2021-07-01 10:00+02",7)': '("2021-07-01 08:00:00+00",7)', "(,7)": "(,7)" },
    refused: [
      [zone, "(2021-07-01 10:00 UTC+2,7)"],
      [no("t\\.c"), "(2021-07-01 09:00 - 12:00,7)", "(2021-07-01 10:00 UTC2,7)", "(2021-07-01 10:00.5,7)"],
      [no("t\\.c"), "(2021-07-01,1_000)", "(2021-07-01,0x0C)", "(now,)"],
    ],
  },
  "a composite of a text and a time of day": {
    sql: "create type t.c as (name text, at timetz);",
    type: "t.c",
    read: { "(09:00 - 12:00,10:30)": '("09:00 - 12:00",10:30:00+00)' },
    refused: [[zone, "(a,10:30 UTC+2)"], [no("t\\.c"), "(a,09:00 - 12:00)", "(a,now)"]],
  },
  "composites in arrays, with arrays in them, of domains": {
    sql: `create domain t.d as date; create type t.c as (name text, at t.d[], paid money);
      create domain t.e as t.c check ((value).name <> 'bad');`,
    type: "t.e[]",
    read: {
      '{"(\\"a, b\\",{2021-07-01},\\"1,234.50\\")"}': '{"(\\"a, b\\",{2021-07-01},\\"$1,234.50\\")"}',
      '{"(\\"1,5 \\\\\\\\ \\"\\"2021101\\"\\"\\",,)",NULL}': '{"(\\"1,5 \\\\\\\\ \\"\\"2021101\\"\\"\\",,)",NULL}',
    },
    refused: [
      [no("t\\.e\\[\\]"), '{"(a,{2021101},)"}', '{"(a,,1)","(a,\\"{2021-07-01,2021101}\\",1)"}'],
      [no("t\\.e\\[\\]"), '{"(a,,\\"12,34\\")"}', '{"(a,,12\\\\,34)"}', '{"(\\"x, \\"\\"y\\",,\\"12,34\\")"}'],
      [/^breaks a rule of t\.e\[\]$/, '{"(bad,,)"}'],
    ],
  },
  "ranges in a composite": {
    sql: "create type t.c as (at daterange, n numrange, m datemultirange);",
    type: "t.c",
    read: {
      '("[2021-07-01,2021-07-03)","[1.5,)","{[2021-07-01,2021-07-03)}")':
        '("[2021-07-01,2021-07-03)","[1.5,)","{[2021-07-01,2021-07-03)}")',
      "(empty,,{})": "(empty,,{})",
    },
    refused: [
      [no("t\\.c"), '("[2021-07-01,2021101)",,)', '("[,""now"")",,)', '(,"[1_0,)",)', '(,,"{[2021-07-01,infinity)}")'],
    ],
  },
  "words that mean null": {
    type: "int",
    feed: { nulls: ["N/A", "-", "{cell}", "it's", "%s"] },
    read: { "7": "7", "N/A": null, "-": null, "": null, "{cell}": null, "it's": null, "%s": null },
    refused: [[no("integer"), "n/a", "NULL", "--"]],
  },
  "words that mean null, for a date": {
    type: "date",
    feed: { nulls: ["N/A", "0000-00-00", "01/01/1900"] },
    read: { "2024-03-04": "2024-03-04", "N/A": null, "0000-00-00": null, "01/01/1900": null },
    refused: [[order, "01/01/1901"]],
  },
  "words that mean null, for a text": {
    type: "text",
    feed: { nulls: ["N/A"] },
    read: { "N/A": null, "": "", "n/a": "n/a" },
  },
  "an empty text that means null": { type: "text", feed: { nulls: [""] }, read: { "": null, "a": "a" } },
  "numbers with a comma": {
    type: "numeric",
    feed: { decimal_comma: true, nulls: ["k.A."] },
    read: {
      "1.234,50": "1234.50",
      "1.234.567": "1234567",
      "-0,5": "-0.5",
      "+7": "7",
      "1234,5": "1234.5",
      ",5": "0.5",
      "1e3": "1000",
      "k.A.": null,
      "": null,
    },
    refused: [[no("numeric"), "12.34", "1.2345", "1,234.50", "1.23,4", "1,2,3", "NaN", "abc", "1.234.5"]],
  },
  "numbers with a comma, with a scale": {
    type: "numeric(8,2)",
    feed: { decimal_comma: true },
    read: { "1.234,5": "1234.50" },
    refused: [
      [/^is out of the range of numeric\(8,2\)$/, "1.234.567,00"],
      // Without its point it were out of range.
      [/^is no numeric\(8,2\)$/, "1234.5", "123456.7"],
    ],
  },
  "numbers with a comma, in a domain": {
    sql: "create domain t.share as numeric check (value < 100);",
    type: "t.share",
    feed: { decimal_comma: true },
    read: { "12,5": "12.5" },
    refused: [[/^is no t\.share$/, "12.5", "1250.0"], [/^breaks a rule of t\.share$/, "125", "1.250,0"]],
  },
  "numbers with a comma, of integers": {
    type: "bigint",
    feed: { decimal_comma: true },
    read: { "1.234": "1234", "12.000": "12000", "7,00": "7", "12": "12" },
    refused: [[no("bigint"), "7,5", "12.3", "1_2", "0x0C"]],
  },
  "numbers with a comma, in arrays": {
    type: "numeric[]",
    feed: { decimal_comma: true },
    read: { "{1,2,-3}": "{1,2,-3}" },
    refused: [[no("numeric\\[\\]"), "{1.234}", "{1.5,2}"]],
  },
  "numbers with a comma, in a composite": {
    sql: "create type t.c as (name text, n numeric);",
    type: "t.c",
    feed: { decimal_comma: true },
    read: { "(1.234,7)": "(1.234,7)", "(a_b,)": "(a_b,)" },
    refused: [[no("t\\.c"), "(a,1.234)", '(a,"1,5")', "(a,1_000)", "(a,0x0C)"]],
  },
  "numbers with a point, in a composite": {
    sql: "create type t.c as (name text, n numeric, i int);",
    type: "t.c",
    read: { "(0x0C,1.5,12)": "(0x0C,1.5,12)" },
    refused: [[no("t\\.c"), "(a,1_000,)", "(a,0x0C,)", "(a,,0b1)", '(a,"1,5",)']],
  },
  "amounts of money in an array": {
    type: "money[]",
    read: { '{12.34,"1,234.50",NULL}': '{$12.34,"$1,234.50",NULL}', "{}": "{}", "{{1},{2}}": "{{$1.00},{$2.00}}" },
    refused: [[no("money\\[\\]"), '{"12,34"}', '{1,"1,23,4.5"}', '{{"12,34"}}', "{12\\,34}", "{5-}"]],
  },
  "amounts of money with a comma, in an array": {
    type: "money[]",
    feed: { decimal_comma: true },
    read: { "{12,34}": "{$12.00,$34.00}" },
    refused: [[no("money\\[\\]"), '{"12,34"}', "{12.34}", "{1.234}", '{"1.234,50"}']],
  },
  "amounts of money in a composite": {
    sql: "create type t.c as (name text, m money);",
    type: "t.c",
    read: { '("a, b","1,234.50")': '("a, b","$1,234.50")', '("12,34",5)': '("12,34",$5.00)' },
    refused: [[no("t\\.c"), '(a,"12,34")', "(a,12\\,34)", '("x ""y"", z","12,34")', '(a,12","34)']],
  },
  "amounts of money": {
    type: "money",
    read: {
      "12.34": "$12.34",
      "1,234.50": "$1,234.50",
      "$1,234.50": "$1,234.50",
      "-$5": "-$5.00",
      "$-5": "-$5.00",
      "($5.00)": "-$5.00",
      "7": "$7.00",
      "": null,
    },
    refused: [[no("money"), "12,34", "1,23,4.5", "1.234,50", "$", "€5", "1,2345", "5-", "12,34,567"]],
  },
  "amounts of money with a comma": {
    type: "money",
    feed: { decimal_comma: true },
    read: { "12,34": "$12.34", "1.234,50": "$1,234.50", "-7": "-$7.00", "$1.234": "$1,234.00" },
    refused: [[no("money"), "12.34", "1,234.50", "1.23", "$"]],
  },
  "numbers with a point": {
    type: "numeric",
    read: {
      "1234.50": "1234.50",
      "7": "7",
      "0.5": "0.5",
      "-0.5": "-0.5",
      "1e3": "1000",
      " 7": "7",
      "12.000": "12.000",
    },
    refused: [
      [no("numeric"), "1.234,50", "1,234.50", "$7"],
      [no("numeric"), "1_0.5", "1_000", "0x0C", "0X1F", "-0x1", " 0x1", "0b11", "0o17", "1e0_3"],
    ],
  },
  "numbers of binary fractions": {
    type: "double precision",
    read: { "1234.5": "1234.5", "0.5": "0.5", "-0.25": "-0.25" },
    refused: [[no("double precision"), "0x0C", "0x1p3", "-0x1", "1_2"]],
  },
  "integers written as in SQL": {
    type: "int",
    read: { "12": "12", "012": "12", "-12": "-12", "0": "0", "-0": "0" },
    refused: [[no("integer"), "1_2", "0x0C", "0X0C", "0b1100", "0o14", "-0x0C", " 0x0C", "+0b1"]],
  },
  "integers in arrays and ranges": {
    sql: "create domain t.n as int;",
    type: "t.n[]",
    read: { "{12,-3}": "{12,-3}" },
    refused: [[no("t\\.n\\[\\]"), "{1_2}", "{5,0x0C}"]],
  },
  "integers in a range": {
    type: "int4range",
    read: { "[1,12)": "[1,12)" },
    refused: [[no("int4range"), "[1,1_2)", "[0x0C,)"]],
  },
  "integers written with a point": {
    type: "int",
    read: {
      "532075.0": "532075",
      "532075.000": "532075",
      "12.000": "12",
      "-3.000": "-3",
      "-3.00": "-3",
      "12.0000": "12",
      "0.000": "0",
      "8": "8",
      " 9.0 ": "9",
    },
    refused: [
      [no("integer"), "532075.5", "1.0.0", ".0", "7.0x", "1.234", "1_2.0"],
      [no("integer"), "9999999999.0"],
    ],
  },
  "integers written with a point, in a domain": {
    sql: "create domain t.n as int check (value < 100);",
    type: "t.n",
    read: { "12.0": "12" },
    refused: [[/^breaks a rule of t\.n$/, "120.0"]],
  },
  // What an octal number is to Postgres.
  "an oid": {
    type: "oid",
    read: { "10": "10", "0": "0", " 7": "7" },
    refused: [[no("oid"), "010", " 010", "0x10", "0o7", "-010", "abc"]],
  },
  "oids in an array": { type: "oid[]", read: { "{10,0}": "{10,0}" }, refused: [[no("oid\\[\\]"), "{1,010}"]] },
  "a transaction's number": { type: "xid8", read: { "10": "10" }, refused: [[no("xid8"), "010", "0x10"]] },
  // A cast from text does not know the number.
  "the name or number of a table": {
    type: "regclass",
    read: { "1259": "pg_class", "pg_class": "pg_class", "-": "-" },
    refused: [[no("regclass"), "nowhere", "02353", "0x4EB"]],
  },
  "the name or number of a type": {
    type: "regtype",
    read: { "23": "integer", "int": "integer" },
    refused: [[no("regtype"), "nothing", "027"]],
  },
  // Postgres keeps 63 bytes of it, and one of "char".
  "a name": {
    type: "name",
    read: { [long(63)]: long(63), ["é".repeat(31)]: "é".repeat(31), "": "", "a": "a" },
    refused: [[/^is too long for name$/, long(64), "é".repeat(32), `${long(63)} `]],
  },
  "a name that is unique": { type: "name unique", read: { "": null, "a": "a" } },
  "names in an array": { type: "name[]", read: { "{a,b}": "{a,b}" }, refused: [[no("name\\[\\]"), `{${long(64)}}`]] },
  "a domain over a name": {
    sql: "create domain t.n as name;",
    type: "t.n",
    read: { "a": "a" },
    refused: [[/^is too long for t\.n$/, long(64)]],
  },
  "a single byte": {
    type: '"char"',
    read: { "a": "a", "": null },
    refused: [[/^is too long for "char"$/, "ab", "é", "\\101"]],
  },
  "an empty text in a key": {
    sql: "create table t.p (code text primary key); insert into t.p values ('a');",
    type: "text references t.p",
    read: { "": null, "a": "a" },
  },
  "an empty text that may be unique": { type: "text unique", read: { "": null, "a": "a" } },
  "an empty text in a column that must not be null": { type: "text not null unique", read: { "": "", "a": "a" } },
  "an empty text": { type: "text", read: { "": "", "a": "a" } },
};
// The fields say what is read: by Postgres' manual '1' is a day in INTERVAL DAY.
for (
  const [type, read] of Object.entries<Record<string, string>>({
    "interval year": { "5": "5 years", "-2": "-2 years" },
    "interval day": { "1": "1 day", "2 days": "2 days" },
    "interval minute": { "90": "01:30:00" },
    "interval minute to second": { "1:30": "00:01:30" },
    "interval hour to minute": { "5": "00:05:00", "1:30": "01:30:00" },
    "interval day to second(0)": { "1 2:03:04.6": "1 day 02:03:05" },
    "interval day[]": { "{1,2}": '{"1 day","2 days"}' },
    "t.days": { "3": "3 days" },
    "t.more": { "3": "3 days" },
  })
) {
  cases[`a span of time as ${type}`] = {
    sql: "create domain t.days as interval day; create domain t.more as t.days check (value < interval '9 days');",
    type,
    read,
    refused: [[/^is no /, "soon", "1h30"], ...type === "t.more" ? [[/^breaks a rule/, "10"] as [RegExp, string]] : []],
  };
}

function long(length: number): string {
  return "n".repeat(length);
}

const quoted = (cell: string) => `"${cell.replaceAll('"', '""')}"`;

for (const format of ["csv", "json"]) {
  for (const [name, { type, feed = {}, sql = "", read = {}, refused = [] }] of Object.entries(cases)) {
    // JSON writes its numbers with a point.
    if (format === "json" && feed.decimal_comma) continue;
    Deno.test(`values: ${name}, in ${format}`, async () => {
      await using db = await freshDatabase();
      await using web = serve({});
      await db.admin(`create schema t; grant all on schema t to ${new URL(db.url).username}`);
      await db.query(`${sql} create table t.x (id int primary key, v ${type})`);
      const reasons = refused.flatMap(([reason, ...cells]) => cells.map((cell) => ({ cell, reason })));
      const cells = [...Object.keys(read), ...reasons.map(({ cell }) => cell)];
      web.files["/x"] = format === "csv"
        ? `id,v\n${cells.map((cell, i) => `${i + 1},${quoted(cell)}\n`).join("")}`
        : JSON.stringify(cells.map((v, i) => ({ id: i + 1, v })));
      await db.feed("x", { url: `${web.url}/x`, target: "t.x", reject_limit: 1, ...feed });
      const loaded = await db.loadOne("x");
      assert.equal(loaded.error, null);
      const rows = await db.query("select id, v::text from t.x order by id");
      assert.deepEqual(
        Object.fromEntries(rows.map(({ id, v }) => [cells[id - 1], v])),
        read,
      );
      const rejects = await db.query(
        "select record_number::int, value, reason from etl.rejects order by record_number",
      );
      assert.deepEqual(rejects.map(({ value }) => value), reasons.map(({ cell }) => cell));
      for (const { record_number, reason } of rejects) {
        const { cell, reason: expected } = reasons[record_number - 1 - Object.keys(read).length];
        assert.match(reason, expected, cell);
      }
      const again = await db.loadOne("x", { force: true });
      assert.deepEqual([again.status, again.unchanged], ["unchanged", Object.keys(read).length], "forced");
    });
  }
}

/** Cells of these shapes, each with up to three other characters in it. */
function shaped(shapes: string[], others: string, count: number): string[] {
  const random = chance(7);
  const one = (of: ArrayLike<string>) => of[Math.floor(random() * of.length)];
  return Array.from({ length: count }, () => {
    const cell = [...one(shapes)];
    for (let n = Math.floor(random() * 4); n > 0; n--) cell[Math.floor(random() * cell.length)] = one(others);
    return cell.join("");
  });
}

Deno.test("values: a date of the usual form is of a form in any order of dates", async () => {
  await using db = await freshDatabase();
  const cells = shaped(
    [
      "2021-07-01",
      "1999-11-12",
      "2021-07-01 10:00:00",
      "2021-07-01T10:00:00",
      "2021-07-01T10:00:00Z",
      "2021-07-01 10:00:00+02",
      "2021-07-01T10:00:00.123Z",
    ],
    " +-:.,/TZapm0129",
    20_000,
  );
  const [{ usual }] = await db.query("select etl.usual_form('c', 'day', false, false) as usual");
  for (const [asked, atLeast] of [[usual, 200], ["c ~ ('^(?:' || etl.usual_day() || ')$')", 300]]) {
    const [{ taken, bad }] = await db.query(
      `with orders as materialized (
        select etl.alone(etl.day_forms(o)) as forms from unnest('{dmy,mdy,ymd,NULL}'::text[]) o
      )
      select count(*)::int as taken, array_agg(c) filter (
        where exists (select from orders o where c !~* all (o.forms))
      ) as bad from unnest($1::text[]) c where ${asked}`,
      [[...new Set(cells)]],
    );
    assert.equal(bad, null, asked);
    assert.ok(taken > atLeast, `${taken} are usual`);
  }
});

// Cells of a column are asked by the thousand: each part of the file, and each column by itself.
for (
  const [what, last, at] of [
    ["refused", "2021-07-01 -2:00:00", null],
    ["unusual", "1 July 2021 10:00", "2021-07-01 10:00:00+00"],
  ]
) {
  Deno.test(`values: a date that is ${what}, behind many that are usual`, async () => {
    await using db = await freshDatabase();
    await using web = serve({});
    await db.admin(`create schema t; grant all on schema t to ${new URL(db.url).username}`);
    await db.query("create table t.x (id int primary key, a date, b timestamptz, c timestamptz)");
    const count = 20_000;
    const rows = Array.from({ length: count }, (_, i) => `${i},2021-07-01,2021-07-01T10:00:00.123Z,2021-07-01\n`);
    web.files["/x"] = `id,a,b,c\n${rows.join("")}${count},2021-07-01,${last},\n`;
    await db.feed("x", { url: `${web.url}/x`, target: "t.x" });
    const { inserted, rejected } = await db.loadOne("x");
    assert.deepEqual([inserted, rejected], at ? [count + 1, 0] : [count, 1]);
    assert.deepEqual(await db.query("select b::text as at from t.x where id = $1", [count]), at ? [{ at }] : []);
  });
}

Deno.test("values: a number of the usual form is refused in no other way", async () => {
  await using db = await freshDatabase();
  const cells = shaped(["123", "-12.5", "1e5", "0.5", "12"], " +-_.xob019E", 5_000);
  const [{ usual }] = await db.query("select etl.usual_form('c', 'number', false, false) as usual");
  const [{ taken, bad }] = await db.query(
    `select count(*)::int as taken, array_agg(c) filter (
      where c ~* etl.refused_of('number', f) and pg_input_is_valid(c, 'numeric')
    ) as bad from unnest($1::text[]) c, (select null::etl.feeds as f) f where ${usual}`,
    [[...new Set(cells)]],
  );
  assert.equal(bad, null);
  assert.ok(taken > 100, `${taken} are usual`);
});

Deno.test("values: JSON writes its numbers with a point, and 1.234 there is never 1234", async () => {
  await using db = await freshDatabase();
  await using web = serve({});
  web.files["/x"] = '[{"id":1,"v":1.234}]';
  await db.admin(`create schema t; grant all on schema t to ${new URL(db.url).username}`);
  await db.query("create table t.x (id int primary key, v numeric)");
  await db.feed("x", { url: `${web.url}/x`, target: "t.x", decimal_comma: true });
  const { status, error } = await db.loadOne("x");
  assert.deepEqual([status, error?.code], ["failed", "setting"]);
  assert.match(error!.hint!, /decimal_comma/);
});
