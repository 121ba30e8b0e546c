/** This project: where it is, and what it holds. */
import { resolve } from "node:path";

export const project = resolve(import.meta.dirname!, "../..");
/** The same as a URL. */
export const root = new URL("../../", import.meta.url);

/** The files with this ending in a directory and all beneath it. */
export async function filesIn(directory: URL, ending: string): Promise<URL[]> {
  const files: URL[] = [];
  for await (const { name, isDirectory } of Deno.readDir(directory)) {
    if (isDirectory) files.push(...await filesIn(new URL(`${name}/`, directory), ending));
    else if (name.endsWith(ending)) files.push(new URL(name, directory));
  }
  return files;
}

/** A document, by its path in the project. */
export async function document(path: string): Promise<string> {
  return await Deno.readTextFile(new URL(path, root));
}

/** The blocks of code in a document that are in this language. */
export function blocks(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map((match) => match[1]);
}
