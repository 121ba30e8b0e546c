/** `deno task feed`: a partner's file -> a migration with its table and its feed. */
import { connect } from "../database/connect.ts";
import { asEtlError, EtlError } from "../errors.ts";
import { look } from "./feed/look.ts";
import { type Options, readOptions, usage } from "./feed/options.ts";
import { records } from "./feed/sql.ts";
import { type Finding, migration } from "./feed/write.ts";
import { asksForHelp, say } from "./print.ts";
import { explain, type Session, withSession } from "./session.ts";

/** `load`: loads a feed and prints its report. Returns the exit code. */
export async function feed(args: string[], load: (session: Session, feed: string) => Promise<number>): Promise<number> {
  if (asksForHelp(args)) {
    say(usage);
    return 0;
  }
  let options: Options;
  try {
    options = readOptions(args);
  } catch (error) {
    return explain(error, false);
  }
  const { apply, draft: { name } } = options;
  return await withSession({ schema: apply ? "brought up to date" : "as it is" }, async (session) => {
    const finding = await look(session.databaseUrl, options);
    const sql = migration(finding);
    console.log(sql);
    const open = openQuestions(finding);
    if (!apply) {
      tellNextSteps(finding, open);
      return 0;
    }
    if (open.length > 0) throw new EtlError("usage", `Cannot apply it: ${open.join("; ")}`, "It is printed above.");
    await applyTo(session.databaseUrl, sql, name);
    return await load(session, name);
  });
}

/** What the file does not tell, and without which it cannot be loaded. */
function openQuestions({ key, staged: { draft, found } }: Finding): string[] {
  return [
    ...(key.length === 0 ? ["its key must be said, where the comment in the table is"] : []),
    ...(["header", "date_order"] as const).filter((column) => draft[column] === null && found.has(column))
      .map((column) => `--${column.replaceAll("_", "-")} must be said: ${found.get(column)}`),
  ];
}

function tellNextSteps({ options: { draft: { name } }, staged }: Finding, open: string[]): void {
  const version = new Date().toISOString().replaceAll(/\D/g, "").slice(0, 14);
  const looked = `${staged.isPart ? "the first " : ""}${records(staged.records)}`;
  console.error(`\nFound in ${looked}; nothing was written. The same again`);
  console.error(`  … > supabase/migrations/${version}_${name}.sql   saves it as a migration`);
  console.error("  … --apply   applies it, and loads the feed");
  console.error(
    `Once it is applied, deno task etl ${name} --dry-run shows the rest: what would load, and what would not.`,
  );
  for (const question of open) console.error(`First, ${question}.`);
}

async function applyTo(databaseUrl: string, sql: string, name: string): Promise<void> {
  await using client = await connect(databaseUrl);
  try {
    await client.query(`begin;\n${sql}\ncommit`);
  } catch (error) {
    throw asEtlError(error, `Cannot apply the migration of ${name}; it was rolled back`);
  }
}
