/** etl.health(): the verdicts by what the files are like; columns that drift, files that shrink, feeds that stand still. */
import assert from "node:assert/strict";
import type { Database } from "../support/database.ts";
import { databaseAndWeb } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";
import { type Answer, type Web, withEtag } from "../support/web.ts";

type Health = Record<"verdict" | "message" | "hint" | "records" | "usual_records", string | null>;

/** What is said of the feed of a case, which loads into public.rides. */
interface Feed {
  db: Database;
  web: Web;
  /** Has the partner publish this, and loads it. */
  publish(file: Answer): Promise<void>;
  health(): Promise<Health>;
}

type Case = [
  what: string,
  play: (feed: Feed) => Promise<void>,
  verdict: string,
  says?: (string | RegExp)[],
  hint?: string | null,
];

const table = "create table public.rides (id text primary key, base_fare text, note text, tip numeric default 0)";
const approve = "select etl.approve('rides');";

/** A CSV file with an id and these columns. */
const csv = (columns: string, records = 20) =>
  ["id," + columns, ...numbers(records).map((n) => n + "," + columns.replace(/[^,]+/g, "7"))].join("\n") +
  "\n";

/** The same as JSON, where only the first `having` records have the columns. */
const json = (columns: string[], records = 20, having = records) =>
  JSON.stringify(
    numbers(records).map((n) => ({
      id: String(n),
      ...Object.fromEntries(n <= having ? columns.map((column) => [column, "7"]) : []),
    })),
  );

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

/** Each case is a step with a feed of its own, beside one that is always well. */
function tryEach(title: string, options: Record<string, unknown>, cases: Case[]) {
  Deno.test(title, async (t) => {
    await using given = await databaseAndWeb("create table public.others (id text primary key)", {
      "/others": "id\n1\n",
    });
    const { db, web } = given;
    await db.query("update etl.feeds set enabled = false");
    await db.feed("others", { url: `${web.url}/others` });
    await db.loadOne("others");
    for (const [what, play, verdict, says = [], hint = null] of cases) {
      await t.step(what, async () => {
        await db.query(table);
        await db.feed("rides", { url: `${web.url}/rides`, ...options });
        const feed: Feed = {
          db,
          web,
          publish: async (file) => {
            web.files["/rides"] = file;
            assert.equal((await db.loadOne("rides")).error, null);
          },
          health: async () => {
            const [others, rides] = await db.query(
              `select verdict, replace(message, 'No schedule: see etl.schedule()', '') as message, hint, records,
                usual_records
              from etl.health() order by feed`,
            );
            assert.deepEqual([others.verdict, others.message, others.hint], ["ok", "", null]);
            return rides;
          },
        };
        try {
          await play(feed);
          const found = await feed.health();
          assert.deepEqual([found.verdict, found.hint], [verdict, hint]);
          if (verdict === "ok") assert.equal(found.message, "");
          for (const words of says) {
            if (typeof words === "string") assert.ok(found.message!.includes(words), found.message!);
            else assert.match(found.message!, words);
          }
        } finally {
          await db.query("drop table public.rides; delete from etl.feeds where name = 'rides'");
        }
      });
    }
  });
}

const mapping = (columns: string) => `update etl.feeds set columns = columns || '{${columns}}' where name = 'rides';`;

const renamed = mapping('"fare_amount": "base_fare"');

const drift: Case[] = [
  [
    "a column without a name is new, and holds something",
    async ({ publish }) => {
      await publish("id,note,base_fare\n1,a,7\n2,b,7\n");
      await publish("id,note,\n1,a,z\n2,b,\n");
    },
    "drifted",
    [/ The file lacks base_fare: .* It has "column 3", and public\.rides has no such column\. If the file is right/],
    approve,
  ],
  [
    "a column without a name was there from the first, or holds nothing",
    async ({ publish }) => {
      await publish("id,,note\n1,0,a\n2,1,b\n");
      await publish("id,,note,\n1,0,a,\n2,1,c,\n");
    },
    "ok",
  ],
  [
    "a nullable column was renamed",
    async ({ publish }) => {
      await publish(csv("base_fare,note"));
      await publish(csv("fare_amount,note", 21));
    },
    "drifted",
    [
      /^Its columns are other ones since 20\d\d-\S+ \S+\. The file lacks base_fare: new rows get the default or null, known rows keep theirs\. It has fare_amount, and public\.rides has no such column\. /,
      `Likely renamed: base_fare is now fare_amount. If so: ${renamed.slice(0, -1)}. `,
      "If the file is right as it is: select etl.approve('rides'). ",
    ],
    renamed,
  ],
  [
    "it was renamed, and nothing has changed since, nor where it is compared anew",
    async ({ publish, db, health }) => {
      await publish(csv("base_fare,note"));
      await publish(csv("fare_amount,note", 21));
      const before = await health();
      await publish(csv("fare_amount,note", 21));
      assert.equal((await db.loadOne("rides", { force: true })).error, null);
      await publish(csv("fare_amount,note", 22));
      assert.deepEqual({ ...await health(), records: "21", usual_records: "21" }, before, "since when, too");
    },
    "drifted",
    [],
    renamed,
  ],
  [
    "it was renamed, and is back",
    async ({ publish }) => {
      await publish(csv("base_fare,note"));
      await publish(csv("fare_amount,note"));
      await publish(csv("base_fare,note", 21));
    },
    "ok",
  ],
  [
    "it was renamed, and the line to run was run",
    async ({ publish, health, db }) => {
      await publish(csv("base_fare,note"));
      await publish(csv("fare_amount,note", 21));
      await db.query((await health()).hint!);
      await publish(csv("fare_amount,note", 21));
      assert.deepEqual(await db.query("select base_fare from public.rides where id = '21'"), [{ base_fare: "7" }]);
    },
    "ok",
  ],
  [
    "it was renamed, a person accepted it, and it stays so",
    async ({ publish, db, health }) => {
      await publish(csv("base_fare,note"));
      await publish(csv("fare_amount,note"));
      await db.query(approve);
      assert.equal((await health()).verdict, "ok");
      await publish(csv("fare_amount,note", 21));
    },
    "ok",
  ],
  [
    "one drift was accepted, and there is another",
    async ({ publish, db }) => {
      await publish(csv("base_fare,note"));
      await publish(csv("fare_amount,note"));
      await db.query(approve);
      await publish(csv("fare_amount,notes"));
    },
    "drifted",
    [/The file lacks note: .* It has notes, and /],
    mapping('"notes": "note"'),
  ],
  [
    "a column is gone",
    async ({ publish }) => {
      await publish(csv("base_fare,note,tip"));
      await publish(csv("base_fare"));
    },
    "drifted",
    [/The file lacks note, tip: .* keep theirs\. If the file is right/],
    approve,
  ],
  [
    "the header alone has drifted",
    async ({ publish }) => {
      await publish(csv("base_fare,note"));
      await publish(csv("base_fare", 0));
    },
    "drifted",
    [/The file lacks note: .*Its file is too small since 20\S+ \S+\. Records: 0, and usually 20\. .*approve/],
    approve,
  ],
  [
    "a column has come, and has no place",
    async ({ publish }) => {
      await publish(csv("base_fare"));
      await publish(csv("base_fare,Tolls Paid"));
    },
    "drifted",
    [/ since \S+ \S+\. It has "Tolls Paid", and public\.rides has no such column\. If the file is right/],
    approve,
  ],
  [
    "a column has come, and the table was given one for it",
    async ({ publish, db }) => {
      await publish(csv("base_fare"));
      await publish(csv("base_fare,tolls"));
      await db.query("alter table public.rides add column tolls numeric");
      await publish(csv("base_fare,tolls"));
    },
    "ok",
  ],
  [
    "the table lost a column that the file still has",
    async ({ publish, db }) => {
      await publish(csv("base_fare,note"));
      await db.query("alter table public.rides drop column note");
      await publish(csv("base_fare,note"));
    },
    "drifted",
    [/ since \S+ \S+\. It has note, and/],
    approve,
  ],
  [
    "table and file lost a column together",
    async ({ publish, db }) => {
      await publish(csv("base_fare,note"));
      await db.query("alter table public.rides drop column note");
      await publish(csv("base_fare"));
    },
    "ok",
  ],
  [
    "what the first file had beside the table is ignored, also where it goes and comes back",
    async ({ publish }) => {
      await publish(csv("base_fare,x,y"));
      await publish(csv("base_fare,y"));
      await publish(csv("y,x,base_fare"));
    },
    "ok",
  ],
  [
    "a column that came later counts from then on",
    async ({ publish, health }) => {
      await publish(csv("note"));
      await publish(csv("note,base_fare"));
      assert.equal((await health()).verdict, "ok");
      await publish(csv("note"));
    },
    "drifted",
    ["The file lacks base_fare: "],
    approve,
  ],
  [
    "two were renamed, each like its own",
    async ({ publish }) => {
      await publish(csv("base_fare,note,tip"));
      await publish(csv("tip_amount,note,Base-Fare-USD"));
    },
    "drifted",
    [`renamed: base_fare is now "Base-Fare-USD", tip is now tip_amount. `],
    mapping('"tip_amount": "tip", "Base-Fare-USD": "base_fare"'),
  ],
  [
    "the only one that is gone, and the only one that has come, are not alike",
    async ({ publish }) => {
      await publish(csv("base_fare,note"));
      await publish(csv("base_fare,remark"));
    },
    "drifted",
    ["note is now remark"],
    mapping('"remark": "note"'),
  ],
  [
    "two are gone and two have come, and none are alike",
    async ({ publish }) => {
      await publish(csv("base_fare,note"));
      await publish(csv("cost,plum"));
    },
    "drifted",
    [/^(?!.*Likely)/],
    approve,
  ],
  [
    "many have come",
    async ({ publish }) => {
      await publish(csv("base_fare"));
      await publish(csv("base_fare," + numbers(12).map((n) => `new_${n}`).join(",")));
    },
    "drifted",
    ["It has new_1, new_2, new_3, new_4, new_5, new_6, new_7, new_8, new_9, new_10 and 2 more, and "],
    approve,
  ],
];

tryEach("etl.health(): the columns of a file drift", {}, drift);

tryEach("etl.health(): the keys of a JSON file drift", { shrink_limit: 1 }, [
  [
    "no record has a key that all had",
    async ({ publish }) => {
      await publish(json(["base_fare", "note"]));
      await publish(json(["note"]));
    },
    "drifted",
    ["The file lacks base_fare: "],
    approve,
  ],
  [
    "one record of many has it still",
    async ({ publish }) => {
      await publish(json(["base_fare", "note"]));
      await publish(json(["base_fare", "note"], 20, 1));
    },
    "ok",
  ],
  [
    "nine records have a key no more",
    async ({ publish }) => {
      await publish(json(["base_fare", "note"]));
      await publish(json(["note"], 9));
    },
    "ok",
  ],
  [
    "fewer than a tenth of usual have it no more",
    async ({ publish }) => {
      await publish(json(["base_fare", "note"], 200));
      await publish(json(["note"], 19));
    },
    "ok",
  ],
  [
    "a tenth of usual have it no more",
    async ({ publish }) => {
      await publish(json(["base_fare", "note"], 200));
      await publish(json(["note"], 20));
    },
    "drifted",
    ["The file lacks base_fare: "],
    approve,
  ],
  [
    "few records lack it, and then many",
    async ({ publish }) => {
      await publish(json(["base_fare", "note"]));
      await publish(json(["note"], 3));
      await publish(json(["note"], 20));
    },
    "drifted",
    ["The file lacks base_fare: "],
    approve,
  ],
  [
    "few records have it under another name",
    async ({ publish }) => {
      await publish(json(["base_fare", "note"]));
      await publish(json(["fare_amount", "note"], 3));
    },
    "drifted",
    ["base_fare is now fare_amount"],
    renamed,
  ],
  [
    "it is gone, and few records or none do not tell",
    async ({ publish }) => {
      await publish(json(["base_fare", "note"]));
      await publish(json(["note"]));
      await publish(json(["note"], 3));
      await publish(json([], 0));
    },
    "drifted",
    ["The file lacks base_fare: "],
    approve,
  ],
  [
    "it is gone, and few records have it again",
    async ({ publish }) => {
      await publish(json(["base_fare", "note"]));
      await publish(json(["note"]));
      await publish(json(["base_fare"], 2));
    },
    "ok",
  ],
]);

tryEach("etl.health(): a file shrinks", {}, [
  [
    "ten records, and then one",
    async ({ publish }) => {
      await publish(csv("note", 10));
      await publish(csv("note", 1));
    },
    "shrunk",
    [/^Its file is too small since 20\S+ \S+\. Records: 1, and usually 10\. Ask the partner whether it is whole\. If /],
    approve,
  ],
  [
    "ten records, then one, then the header alone, again and again",
    async ({ publish, db, health }) => {
      await publish(csv("note", 10));
      await publish(csv("note", 1));
      const { message } = await health();
      for (const force of [false, false, true]) {
        await publish(csv("note", 0));
        assert.equal((await db.loadOne("rides", { force })).status, "unchanged");
      }
      assert.equal((await health()).message, message!.replace("Records: 1,", "Records: 0,"), "since the first one");
    },
    "shrunk",
    ["Records: 0, and usually 10."],
    approve,
  ],
  [
    "half of it is not too few",
    async ({ publish }) => {
      await publish(csv("note", 10));
      await publish(csv("note", 5));
    },
    "ok",
  ],
  [
    "less than half of it is",
    async ({ publish }) => {
      await publish(csv("note", 11));
      await publish(csv("note", 5));
    },
    "shrunk",
    ["Records: 5, and usually 11."],
    approve,
  ],
  [
    "it is of usual size again",
    async ({ publish, health }) => {
      await publish(csv("note", 10));
      await publish(csv("note", 1));
      await publish(csv("note", 4));
      const { verdict, records, usual_records } = await health();
      assert.deepEqual([verdict, records, usual_records], ["shrunk", "4", "10"]);
      await publish(csv("note", 8));
    },
    "ok",
  ],
  [
    "a person accepted it, and it stays so",
    async ({ publish, db, health }) => {
      await publish(csv("note", 30));
      await publish(csv("note", 11));
      await db.query(approve);
      const { verdict, records, usual_records } = await health();
      assert.deepEqual([verdict, records, usual_records], ["ok", "11", "11"]);
      await publish(csv("note", 10));
    },
    "ok",
  ],
  [
    "a person accepted it, and it shrinks again",
    async ({ publish, db }) => {
      await publish(csv("note", 30));
      await publish(csv("note", 11));
      await db.query(approve);
      await publish(csv("note", 2));
    },
    "shrunk",
    ["Records: 2, and usually 11."],
    approve,
  ],
  [
    "of nine records one is left: a handful",
    async ({ publish }) => {
      await publish(csv("note", 9));
      await publish(csv("note", 1));
    },
    "ok",
  ],
  [
    "of a handful none is left",
    async ({ publish }) => {
      await publish(csv("note", 1));
      await publish(csv("note", 0));
    },
    "shrunk",
    ["Records: 0, and usually 1."],
    approve,
  ],
  [
    "a limit of 0 minds every record",
    async ({ publish, db }) => {
      await db.query("update etl.feeds set shrink_limit = 0 where name = 'rides'");
      await publish(csv("note", 20));
      await publish(csv("note", 19));
    },
    "shrunk",
    [],
    approve,
  ],
  [
    "a limit of 1 minds nothing",
    async ({ publish, db }) => {
      await db.query("update etl.feeds set shrink_limit = 1 where name = 'rides'");
      await publish(csv("note", 20));
      await publish(csv("note", 0));
    },
    "ok",
  ],
  [
    "the limit is raised, and holds from the next run on",
    async ({ publish, db }) => {
      await publish(csv("note", 20));
      await publish(csv("note", 2));
      await db.query("update etl.feeds set shrink_limit = 0.9 where name = 'rides'");
      await publish(csv("note", 2));
    },
    "ok",
  ],
  [
    "a file of changes is as long as it is",
    async ({ publish, db }) => {
      await db.query("update etl.feeds set contents = 'changes' where name = 'rides'");
      await publish(csv("note", 20));
      await publish(csv("note", 0));
    },
    "ok",
  ],
  [
    "the first file is empty, and the table is not",
    async ({ publish, db }) => {
      await db.query("insert into public.rides (id) values ('of old')");
      await publish(csv("note", 0));
      await publish(csv("note", 0));
    },
    "shrunk",
    ["Records: 0, and usually more."],
    approve,
  ],
  [
    "the first file is empty, and so is the table",
    async ({ publish }) => {
      await publish(csv("note", 0));
    },
    "ok",
  ],
  [
    "the first file was empty by mistake, and the second is not",
    async ({ publish, db, health }) => {
      await db.query("insert into public.rides (id) values ('of old')");
      await publish(csv("note", 0));
      await publish(csv("note", 3));
      assert.equal((await health()).usual_records, "3");
    },
    "ok",
  ],
]);

/** All that has happened was so much earlier. */
async function passes(db: Database, time: string) {
  await db.query("update etl.runs set finished_at = finished_at - $1::interval where feed = 'rides'", [time]);
  await db.query("update etl.feed_state set known_since = known_since - $1::interval where feed = 'rides'", [time]);
}

const reversed = (file: string) => {
  const [header, ...rows] = file.trim().split("\n");
  return [header, ...rows.reverse()].join("\n") + "\n";
};

tryEach("etl.health(): a feed stands still", { fresh_within: "1 day" }, [
  [
    "nothing new for two days",
    async ({ publish, db }) => {
      await publish(csv("note"));
      await passes(db, "2 days");
      await publish(csv("note"));
    },
    "stale",
    [/^Nothing new has come since 20\S+ \S+, and something should within 1 day\. Ask the partner whether the file is still written\. $/],
  ],
  [
    "nothing new for a day all but an hour",
    async ({ publish, db }) => {
      await publish(csv("note"));
      await passes(db, "23 hours");
    },
    "ok",
  ],
  [
    "the server has answered 304 for a month",
    async ({ publish, db }) => {
      await publish((request) => withEtag(request, csv("note")));
      await passes(db, "1 month");
      await publish((request) => withEtag(request, csv("note")));
    },
    "stale",
  ],
  [
    "for two days the file has been another one, with the same rows",
    async ({ publish, db }) => {
      await publish(csv("note"));
      await passes(db, "2 days");
      await publish(reversed(csv("note")));
    },
    "stale",
  ],
  [
    "after two days there is something new",
    async ({ publish, db }) => {
      await publish(csv("note"));
      await passes(db, "2 days");
      await publish(csv("note", 21));
    },
    "ok",
  ],
  [
    "the table had it all before, and that was two days ago",
    async ({ publish, db }) => {
      await db.query("insert into public.rides (id, note) values ('1', '7')");
      await publish(csv("note", 1));
      await passes(db, "2 days");
    },
    "stale",
  ],
  [
    "the table had it all before, and that was just now",
    async ({ publish, db }) => {
      await db.query("insert into public.rides (id, note) values ('1', '7')");
      await publish(csv("note", 1));
    },
    "ok",
  ],
  [
    "nobody has said how fresh it must be",
    async ({ publish, db }) => {
      await db.query("update etl.feeds set fresh_within = null where name = 'rides'");
      await publish(csv("note"));
      await passes(db, "9 years");
    },
    "ok",
  ],
  [
    "it was never loaded",
    async () => {},
    "never ran",
    [/^Nothing was ever loaded\. $/],
  ],
  [
    "it is failing as well",
    async ({ publish, db, web }) => {
      await publish(csv("note"));
      await passes(db, "2 days");
      delete web.files["/rides"];
      await db.loadOne("rides");
    },
    "failing",
    [/^Cannot load rides: \S+ answered 404\. $/],
  ],
  [
    "it has drifted and shrunk as well",
    async ({ publish, db }) => {
      await publish(csv("base_fare,note"));
      await publish(csv("note", 3));
      await passes(db, "2 days");
    },
    "drifted",
    [
      /^Its columns .* The file lacks base_fare: .* Its file is too small .* select etl\.approve\('rides'\)\. Nothing new has come /,
    ],
    approve,
  ],
  [
    "it has shrunk as well",
    async ({ publish, db }) => {
      await publish(csv("note"));
      await publish(csv("note", 3));
      await passes(db, "2 days");
    },
    "shrunk",
    [/^Its file is too small .* Nothing new has come /],
    approve,
  ],
]);

Deno.test("etl.health(): since when a feed fails, and how many records it had", async () => {
  await using given = await databaseAndWeb(table, { "/rides": csv("note", 7) });
  const { db, web } = given;
  await db.feed("rides", { url: `${web.url}/rides` });
  await db.loadOne("rides");
  await passes(db, "3 hours");
  delete web.files["/rides"];
  for (let run = 0; run < 3; run++) {
    await passes(db, "20 minutes");
    assert.equal((await db.loadOne("rides")).status, "failed");
  }
  const [{ minutes, hint, records, usual_records }] = await db.query(
    `select round(extract(epoch from now() - failing_since) / 60)::int as minutes, hint, records, usual_records
    from etl.health() where feed = 'rides'`,
  );
  assert.deepEqual([minutes, hint, records, usual_records], [40, null, "7", "7"]);
  web.files["/rides"] = csv("note", 8);
  await db.loadOne("rides");
  const [well] = await db.query("select verdict, failing_since from etl.health() where feed = 'rides'");
  assert.deepEqual(well, { verdict: "ok", failing_since: null });
});

Deno.test("etl.approve() takes what was shown, and names a feed that there is not", async () => {
  await using given = await databaseAndWeb(table, { "/rides": csv("note") });
  const { db, web } = given;
  await db.feed("rides", { url: `${web.url}/rides` });
  await db.loadOne("rides");
  const before = await snapshot(db);
  await db.query(approve);
  assert.deepEqual(await snapshot(db), before, "where all is as usual, nothing is written");
  await assert.rejects(db.query("select etl.approve('ridez')"), { code: "ETL01", message: "there is no feed ridez" });
});
