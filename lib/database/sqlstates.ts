/** What an error of the database means for a run, by its SQLSTATE: words and a way out where Postgres' own do not help. */

type Words = Record<string, [message: string, hint: string]>;

/** While connecting; beside the SQLSTATEs, what the network says. */
export const refused: Words = {
  "28P01": ["the password is wrong", "Check the password in DATABASE_URL."],
  "28000": ["the role may not connect", "Check the role in DATABASE_URL and the server's pg_hba.conf."],
  "3D000": ["the database does not exist", "Check the database's name in DATABASE_URL, or create it."],
  "53300": ["it has no connection left", "Wait, or raise max_connections."],
  "57P03": ["it is starting up, or shutting down", "Wait a moment, then run again."],
  "ECONNREFUSED": ["no server answers there", "Is Postgres running, and are host and port in DATABASE_URL right?"],
  "ECONNRESET": ["the server broke the connection off", "It may be starting or shutting down: run again."],
  "ENOTFOUND": ["the host is unknown", "Check the host in DATABASE_URL."],
};

/** In a run. Whatever failed was rolled back; an empty message stands for Postgres' own, which then says enough. */
export const troubles: Words = {
  "23503": [
    "",
    "A row that a record refers to was deleted meanwhile. The next run finds out which records that leaves.",
  ],
  "25006": [
    "the database is read-only",
    "Is it a replica, or is its disk nearly full? Check DATABASE_URL and the disk.",
  ],
  "40001": ["another session changed the same rows at the same time", "Run again."],
  "40P01": [
    "it and another session waited for each other's locks (a deadlock), and Postgres ended this one",
    "Run again; if it lasts, find out who else writes to these tables.",
  ],
  "53100": ["", "The database's disk is full: make room, then run again."],
  "53200": ["", "The database is out of memory: wait or give it more, then run again."],
  "53400": ["", "The database reached a limit that was set for it, as temp_file_limit: raise it, then run again."],
  "55P03": [
    "another session holds a lock on its table, or on one it refers to",
    "See who: select pid, query from pg_stat_activity where state <> 'idle'. Then wait, or end that session; run again.",
  ],
  "57014": ["somebody cancelled its statement in the database", "Run again."],
};
