/** Random tables: keys, rules, a parent and a child. */
import fc from "fast-check";
import { type Column, type Condition, spellings, sqlOf, type Table, type Type, values } from "./tables.ts";

const texts = ["a", "b", "A", "c d", 'say "x"', "x,y;z|\tw", "two\nlines", "Ä€😀", " ", "NULL", "\\N"];
const codes = ["a", "b", "ab", "abc", "ab   ", "Ä€😀", "Ä€😀x", "abcd"];
export const textsOf = (type: Type): string[] =>
  type === "text" ? texts : type === "code" ? codes : Object.keys(spellings[type]);
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
  numeric: ["> 1.5", (value) => value === "NaN" || Number(value) > 1.5],
  money: [">= 0", (value) => Number(value) >= 0],
  text: ["<> 'a'", (value) => value !== "a"],
  code: ["<> 'ab'", (value) => value !== "ab"],
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

const any: Type[] = ["int", "text", "numeric", "money", "code", "stamp", "flag", "day"];
const some = <T>(all: T[], maxLength: number) =>
  fc.shuffledSubarray(all, { maxLength: Math.min(maxLength, all.length) });

/** A table, perhaps with a foreign key to `parent` and one to itself. */
export function table(name: string, parent?: Table): fc.Arbitrary<Table> {
  const keys = fc.integer({ min: 1, max: 10 }).chain((n) =>
    fc.tuple(
      ...["k1", "k2"].slice(0, n > 7 ? 2 : 1).map((name) => column(name, ["int", "text", "code", "numeric", "day"])),
    )
  );
  const others = fc.integer({ min: 1, max: 3 }).chain((n) =>
    fc.tuple(...["a", "b", "c"].slice(0, n).map((name) => column(name, any)))
  );
  return fc.tuple(keys, others, often(8), often(4)).chain(([keys, others, toParent, toSelf]) => {
    const like = (letter: string, target: Column[]) =>
      target.map(({ type }, i): Column => ({ name: `${letter}${i + 1}`, type, required: false, default: null }));
    const parentKey = parent && toParent ? parent.columns.filter(({ name }) => parent.key.includes(name)) : [];
    const up = like("p", parentKey.toSorted((a, b) => a.name < b.name ? -1 : 1));
    const self = like("s", toSelf ? keys : []);
    const free = [...others, ...up, ...self];
    const pairs = free.flatMap((a) =>
      free.filter((b) => a !== b && a.type !== "stamp" && b.type !== "stamp").map((b) => [a, b])
    );
    return fc.record({
      columns: fc.shuffledSubarray([...keys, ...free], { minLength: keys.length + free.length }),
      checked: some([...free.map(compare), ...pairs.map(([a, b]) => compareTwo(a, b))], 2),
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
    }).map(({ columns, checked, unique }) => {
      const made: Table = {
        name,
        columns,
        key: keys.map(({ name }) => name),
        checks: checked.map((condition, i) => ({ name: `${name}_check${i}`, condition })),
        uniques: unique.map((unique, i) => ({ name: `${name}_unique${i}`, ...unique })),
        foreignKeys: [],
      };
      if (self.length > 0) {
        made.foreignKeys.push({
          name: `${name}_fk_a`,
          columns: self.map(({ name }) => name),
          parent: made,
        });
      }
      if (up.length > 0) {
        made.foreignKeys.push({
          name: `${name}_fk_b`,
          columns: up.map(({ name }) => name),
          parent: parent!,
        });
      }
      return made;
    });
  });
}

export function createTable({ name, columns, key, checks, uniques, foreignKeys }: Table): string {
  const literal = (text: string) => `'${text.replaceAll("'", "''")}'`;
  const parts = columns.map((c) =>
    `${c.name} ${sqlOf[c.type]}${c.required ? " not null" : ""}${
      c.default === null ? "" : ` default ${literal(c.default)}`
    }`
  );
  parts.push(`primary key (${key})`);
  for (const { name, condition } of checks) parts.push(`constraint ${name} check (${condition.sql})`);
  for (const { name, columns, parent } of foreignKeys) {
    parts.push(`constraint ${name} foreign key (${columns}) references cases.${parent.name} (${parent.key})`);
  }
  const indexes = uniques.map(({ name: index, columns, nullsEqual, condition }) =>
    `create unique index ${index} on cases.${name} (${columns})${nullsEqual ? " nulls not distinct" : ""}${
      condition ? ` where ${condition.sql}` : ""
    };`
  );
  const plain = `create index ${name}_idx on cases.${name} (${columns[0].name});`;
  return [`create table cases.${name} (${parts.join(", ")});`, ...indexes, plain].join("\n");
}
