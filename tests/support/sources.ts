/** The TypeScript files in a directory and all beneath it. */
export async function sourcesIn(directory: URL): Promise<URL[]> {
  const files: URL[] = [];
  for await (const { name, isDirectory } of Deno.readDir(directory)) {
    if (isDirectory) files.push(...await sourcesIn(new URL(`${name}/`, directory)));
    else if (name.endsWith(".ts")) files.push(new URL(name, directory));
  }
  return files;
}
