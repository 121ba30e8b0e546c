/** Random tables: keys, rules, a parent and a child. */
import fc from "fast-check";
import {
  type Column,
  type Condition,
  type DateOrder,
  type ForeignKey,
  type OnUpdate,
  orderedDates,
  spellings,
  sqlOf,
  type Table,
  type Type,
  values,
} from "./tables.ts";

const texts = ["a", "b", "A", "c d", 'say "x"', "x,y;z|\tw", "two\nlines", "Ä€😀", " ", "NULL", "\\N"];
const codes = ["a", "b", "ab", "abc", "ab   ", "Ä€😀", "Ä€😀x", "abcd"];
export const textsOf = (type: Type): string[] =>
  type === "text" || type === "folded" || type === "loose"
    ? texts
    : type === "code" || type === "short"
    ? codes
    : type === "given" || type === "filled"
    ? textsOf("int")
    : [...Object.keys(spellings[type]), ...(type === "day" ? orderedDates : [])];
const isGood = (type: Type) => (text: string) => typeof values[type](text) === "string";
export const goodTexts = (type: Type) => textsOf(type).filter(isGood(type));
export const often = (weight: number, of = 10) => fc.nat(of - 1).map((n) => n < weight);

const column = (name: string, types: Type[]): fc.Arbitrary<Column> =>
  fc.record({ type: fc.constantFrom(...types), required: often(3), by: fc.option(fc.nat()) }).map(
    ({ type, required, by }) => {
      const choice = goodTexts(type);
      return { name, type, required, default: by === null ? null : values[type](choice[by % choice.length]) as string };
    },
  );

const comparisons: Record<Type, [sql: string, holds: (value: string) => boolean]> = {
  int: [">= 2", (value) => Number(value) >= 2],
  given: [">= 2", (value) => Number(value) >= 2],
  filled: [">= 2", (value) => Number(value) >= 2],
  numeric: ["> 1.5", (value) => value === "NaN" || Number(value) > 1.5],
  money: [">= 0", (value) => Number(value) >= 0],
  text: ["<> 'a'", (value) => value !== "a"],
  code: ["<> 'ab'", (value) => value !== "ab"],
  short: ["<> 'ab'", (value) => value !== "ab"],
  folded: ["<> 'a'", (value) => value.toLowerCase() !== "a"],
  loose: ["<> 'a'", (value) => value.toLowerCase() !== "a"],
  stamp: ["> '2021-07-01 11:00Z'", (value) => value > "2021-07-01 11"],
  flag: ["", (value) => value === "true"],
  day: ["< '2021-07-03'", (value) => value < "2021-07-03"],
};

const compare = ({ name, type }: Column): Condition => ({
  sql: `${name} ${comparisons[type][0]}`,
  columns: [name],
  holds: comparisons[type][1],
});

const compareTwo = (one: Column, other: Column): Condition => ({
  sql: `char_length(${one.name}::text) <> char_length(${other.name}::text)`,
  columns: [one.name, other.name],
  holds: (a, b) => [...a].length !== [...b].length,
});

const any: Type[] = Object.keys(sqlOf) as Type[];
const codeTypes: Type[] = ["int", "filled", "text", "code", "short", "folded", "loose", "numeric", "day"];
const keyTypes: Type[] = [...codeTypes, "given"];
const some = <T>(all: T[], maxLength: number) =>
  fc.shuffledSubarray(all, { maxLength: Math.min(maxLength, all.length) });

/** A table, perhaps with foreign keys to `parent` and to itself: to the primary key, and to a unique column, `u`. */
export function table(name: string, parent?: Table): fc.Arbitrary<Table> {
  const keys = fc.integer({ min: 1, max: 10 }).chain((n) =>
    fc.tuple(
      ...["k1", "k2"].slice(0, n > 7 ? 2 : 1).map((name) => column(name, keyTypes)),
    )
  );
  const others = fc.integer({ min: 1, max: 3 }).chain((n) =>
    fc.tuple(...["a", "b", "c"].slice(0, n).map((name) => column(name, any)))
  );
  // What refers to it may be set to null.
  const code = fc.option(column("u", codeTypes));
  return fc.tuple(keys, others, code, often(8), often(4)).chain(([keys, others, code, toParent, toSelf]) => {
    const like = (letter: string, target: Column[]) =>
      target.map(({ type }, i): Column => ({ name: `${letter}${i + 1}`, type, required: false, default: null }));
    const parentKey = parent && toParent ? parent.columns.filter(({ name }) => parent.key.includes(name)) : [];
    const up = like("p", parentKey.toSorted((a, b) => a.name < b.name ? -1 : 1));
    const self = like("s", toSelf ? keys : []);
    const free = [...others, ...code ? [code] : [], ...up, ...self];
    // What a key may change on its own is in no rule.
    const parentCode = parent?.columns.filter(({ name }) => name === "u") ?? [];
    const byCode = [...like("q", code && toSelf ? [code] : []), ...like("r", toParent ? parentCode : [])];
    const pairs = free.flatMap((a) =>
      free.filter((b) => a !== b && a.type !== "stamp" && b.type !== "stamp").map((b) => [a, b])
    );
    return fc.record({
      columns: fc.shuffledSubarray([...keys, ...free, ...byCode], {
        minLength: keys.length + free.length + byCode.length,
      }),
      // Half of the tables take most of what comes.
      checked: fc.oneof(
        fc.constant<Condition[]>([]),
        some([...free.map(compare), ...pairs.map(([a, b]) => compareTwo(a, b))], 2),
      ),
      unique: fc.array(
        fc.record({
          columns: fc.shuffledSubarray([...free, ...keys].map(({ name }) => name), { minLength: 1, maxLength: 2 }),
          nullsEqual: often(2),
          condition: fc.oneof(
            { weight: 2, arbitrary: fc.constant(null) },
            fc.constantFrom(...[...free, ...keys].map(compare)),
          ),
        }),
        { maxLength: 2 },
      ),
      isFull: often(3),
      onUpdate: fc.constantFrom<OnUpdate>("no action", "restrict", "cascade", "cascade", "set null"),
      hasIdentity: often(3),
      include: often(2),
      partition: often(3),
      nulls: fc.constantFrom<string[]>([], [], ["NULL"], ["", "a", "2"], ["0", "2021-07-01", "07/03/2021"]),
      dateOrder: fc.constantFrom<DateOrder | null>(null, "dmy", "mdy", "ymd"),
      onDelete: fc.constantFrom<ForeignKey["onDelete"]>("no action", "restrict", "cascade", "set null"),
      lacking: fc.oneof(
        { weight: 3, arbitrary: fc.record({ contents: fc.constant("all"), absent: fc.constant("keep") }) },
        { weight: 3, arbitrary: fc.record({ contents: fc.constant("changes"), absent: fc.constant("keep") }) },
        {
          weight: 4,
          arbitrary: fc.record({ contents: fc.constant("all"), absent: fc.constantFrom("delete", "mark") }),
        },
      ) as fc.Arbitrary<Pick<Table, "contents" | "absent">>,
      absentLimit: fc.constantFrom(1, 1, 0.5, 0.25, 0),
    }).map((random) => {
      const { columns, checked, unique, isFull, onUpdate, onDelete, hasIdentity, include, partition } = random;
      const { nulls, dateOrder, lacking, absentLimit } = random;
      const made: Table = {
        name,
        columns,
        key: keys.map(({ name }) => name),
        checks: checked.map((condition, i) => ({ name: `${name}_check${i}`, condition })),
        uniques: [
          ...code ? [{ name: `${name}_u`, columns: ["u"], nullsEqual: false, condition: null }] : [],
          ...unique.map((unique, i) => ({ name: `${name}_unique${i}`, ...unique })),
        ],
        foreignKeys: [],
        hasIdentity,
        included: include ? free[0].name : null,
        // A unique index of a partitioned table must have the partition's key in it.
        isPartitioned: partition && !code && unique.every(({ columns }) => columns.includes("k1")),
        nulls,
        dateOrder,
        ...lacking,
        absentLimit,
      };
      const refer = (columns: Column[], parent: Table, parentColumns: string[], onUpdate: OnUpdate) => {
        if (columns.length === 0) return;
        const letter = columns[0].name[0];
        const names = columns.map(({ name }) => name);
        const key: ForeignKey = {
          name: `${name}_fk_${letter}`,
          columns: names,
          parent,
          parentColumns,
          isFull,
          onUpdate,
          onDelete,
        };
        made.foreignKeys.push(key);
      };
      const toCode = (letter: string) => byCode.filter(({ name }) => name.startsWith(letter));
      refer(self, made, made.key, "no action");
      refer(up, parent!, parent?.key ?? [], "no action");
      // Of rows that change together, Postgres restricts what it would otherwise allow.
      refer(toCode("q"), made, ["u"], onUpdate === "restrict" ? "no action" : onUpdate);
      refer(toCode("r"), parent!, ["u"], onUpdate);
      return made;
    });
  });
}

export function createTable(table: Table): string {
  const { name, columns, key, checks, uniques, foreignKeys, hasIdentity, included, isPartitioned } = table;
  const literal = (text: string) => `'${text.replaceAll("'", "''")}'`;
  const parts = columns.map((c) =>
    `${c.name} ${sqlOf[c.type]}${c.required ? " not null" : ""}${
      c.default === null ? "" : ` default ${literal(c.default)}`
    }`
  );
  if (table.absent === "mark") parts.push("absent_since timestamptz");
  if (hasIdentity) parts.push("i int generated always as identity");
  parts.push(`primary key (${key})${included ? ` include (${included})` : ""}`);
  for (const { name, condition } of checks) parts.push(`constraint ${name} check (${condition.sql})`);
  const keys = foreignKeys.map((fk) =>
    `alter table cases.${name} add constraint ${fk.name} foreign key (${fk.columns})
      references cases.${fk.parent.name} (${fk.parentColumns})${
      fk.isFull ? " match full" : ""
    } on update ${fk.onUpdate} on delete ${fk.onDelete};`
  );
  const partitions = [0, 1].map((n) =>
    `create table cases.${name}_${n} partition of cases.${name} for values with (modulus 2, remainder ${n});`
  );
  const indexes = uniques.map(({ name: index, columns, nullsEqual, condition }) =>
    `create unique index ${index} on cases.${name} (${columns})${nullsEqual ? " nulls not distinct" : ""}${
      condition ? ` where ${condition.sql}` : ""
    };`
  );
  const plain = `create index ${name}_idx on cases.${name} (${columns[0].name});`;
  const body = `create table cases.${name} (${parts.join(", ")})`;
  const made = isPartitioned ? [`${body} partition by hash (k1);`, ...partitions] : [`${body};`];
  return [...made, ...indexes, ...keys, plain].join("\n");
}
