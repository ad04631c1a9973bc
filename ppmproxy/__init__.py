"""A local authenticating proxy for Posit Package Manager.

Four layers: an import points to a module's own layer or to a lower one, never up, and the lowest does no I/O. Each
module stands here with the first line of its own docstring; ``tests/test_architecture.py`` keeps this true.

decide (no I/O)
  errors              Every failure a person can meet, and what they can do about it.
  origin              The boundary a token may not cross: scheme, host and port.
  settings            What the user asked for: the settings, as data, once everything in them has been checked.
  config              What the user asked for: settings from TOML, environment and flags (never a secret).
  config_keys         Every key of the settings, once: its kind, its owner and its sentence.
  config_layers       What each layer says: the file, the environment and the flags, every value checked where it
                      stands.
  config_file         Which settings file is read, its text as tables, and on which line a key stands.
  config_place        Where a value of the settings stands: what `config show` calls it, and how its mistakes are
                      worded.
  config_values       What one value may look like, by kind: a switch, a number, a duration, a word, a path, a list.
  config_network      What an address, a host, a URL, a mount or a header in the settings may look like.
  config_access       How the settings name those who may use the proxy: the same user, everybody, or a list of users.
  config_credentials  The ``[[credentials]]`` tables: which sources there are, and which keys each of them takes.
  credentials         What a credential is, and the order in which sources are asked.
  renewal             When a token that somebody has to be asked for is asked for again.
  tokens_toml         The text of the file of tokens that posit-keyring, pak and this proxy share: what it says, and how
                      one entry changes.
  sign_in_answers     What the Package Manager's answers to a sign-in mean: a code to confirm, wait, a token, or a
                      refusal and its words.
  authorization       The one place that decides whether a request carries the token, and how.
  refusals            What the upstream's no means: no token, an expired one, a rejected one, or one that may not do
                      this.
  routing             Which upstream URL a client's raw path means, and what kind of thing it names.
  headers             Which headers cross the proxy, in each direction.
  codings             Content codings of pages, undone piece by piece.
  possessive          Regular expressions whose repeats give nothing back.
  local_links         What one link of an index page must say so that it leads to the same place through the proxy.
  html_links          HTML index pages (PEP 503): where their links stand, byte for byte.
  json_links          JSON index pages (PEP 691): where their links stand, byte for byte.
  simple_index        Simple-index pages (PEP 503, PEP 691) with their links made local.
  problem             How a failure is told, to pip, to uv and to everyone else.
  local_access        Who on this machine may use the proxy: Host header, origin, peer uid.
  status              What the daemon has done, and how to show it.
  checkup             What a check found: its outcome in one line, and its fix in one line.
  client_habits       Which of a client's own settings lead around the proxy, and what to do about each.
  told_indexes        Which package indexes a client's own files and variables name, and what else in them overrules the
                      proxy.
  wishes              What a client's file is to say, whatever the language it is written in.
  text_form           How the bytes of a file are text: encoding, byte order mark and line ends, so that all of them
                      come back.
  text_edit           A text is changed by trying: of all proposed texts, the first that says exactly what it should is
                      taken.
  ini_edit            INI files, as pip reads them: what they say, and how a key or a word gets in.
  toml_edit           TOML files: what they say, and how a key or an entry of an array gets in.
  json_edit           JSON with comments, as editors keep their settings: what it says, and how a key gets in.
  marked_block        A block of lines between two markers, in a file whose language is not understood here.
  three_way           What a file would say had we never written to it, when others have written to it since.
  dry_run             What ``--dry-run`` shows: a unified diff, with the passwords in URLs masked.
  state_line          The state of a running daemon in one line, as `systemctl status` shows it.
  service_units       What systemd's units for ppmproxy say.
  launchd_agent       A launchd agent for ppmproxy, as macOS wants it described.
  scheduled_task      A scheduled task for ppmproxy, as Windows wants it described.
  carried_settings    Which of a caller's settings a service keeps: flags and variables, as its environment; never a
                      secret.

reach (I/O)
  settings_file       The settings file, read from disk, and the settings in force with everything else that has a say.
  credential_sources  Which sources an upstream's token is looked for in, and the search through them.
  kept_tokens         Tokens that lie somewhere: in an environment variable, a file, a .netrc, the shared tokens.toml.
  asked_tokens        Tokens that somebody has to be asked for: a command, the keyring, the Package Manager itself.
  token_store         The file of tokens shared with posit-keyring and pak, on disk: read, and changed without losing
                      anybody's entry.
  sign_in             Getting tokens over the network: device flow, identity-token exchange.
  sign_in_desk        Sign-in while the client waits: one device flow for all who wait, and how long each of them is
                      held.
  browser             Whether there is a browser that a person can see, and how to open it.
  upstream            The way out: one pool, system trust, retries, redirects.
  passage             The way of a large body from the upstream's connection straight to the client's.
  upstream_faults     What a failed exchange with the upstream means for a person.
  trust               Which certificate authorities are trusted, and what is missing when one is not.
  forward_proxy       Which forward proxy, if any, stands between here and the upstream.
  listeners           The sockets the daemon listens on.
  unix_listener       A Unix socket to listen on: for this user alone, and gone once it is closed.
  port_holder         Who holds a port that is not free, as far as this user may know.
  peer_uid            Which user is at the other end of an accepted connection, as far as the system says.
  process             What the daemon asks of the system for itself: that nobody looks into its memory, and room for
                      many connections.
  runtime_folder      Where a running daemon leaves word for this user's other commands, so that nobody else can read or
                      change it.
  identity_proof      Proof that the daemon on a port is this user's own, before anybody is sent there.
  running_daemon      The daemon that this user has running, as the other commands find and ask it.
  rewriting           Files that belong to a person: read whole, and replaced whole without losing anything.
  configured_files    What `configure` did to a file, kept so that it can be taken back: the file before us, and as we
                      left it.
  logs                How events are written, and how secrets are kept out of them.
  systemd             The two promises to systemd: sockets that it opened are served, and it hears how we are.
  user_systemd        The systemd of this user, asked through `systemctl`.

serve
  server              The wiring: which objects exist, which checks every request passes, start and stop.
  guard               What keeps a running daemon to its own user: the door, the key, and what is said where they cannot
                      do it.
  door                Who may come in over a connection, and how many connections there may be.
  connections         One client connection: how it is admitted, what its requests may weigh, and how long it may take.
  own_pages           The proxy's own pages below ``/-/``: whether it is well, what it has done, that it is this user's;
                      and its end.
  lookout             Whether each upstream still answers: looked at when somebody asks for readiness, and only when
                      there is no news.
  ways                What leads to each upstream: its pool, its credentials, its sign-in, put together.
  proxy               The life of one request, from the client's line to the upstream's last byte.
  exchange            One request and the upstream's answer: with which credential, in which scheme, and what its no
                      means.
  pages               An index page on its way to the client: untouched where it can be, with its links made local where
                      it must be.
  succession          How new settings take over in a running daemon: new requests go the new way, older ones finish on
                      the old.
  heartbeat           What a service manager hears of a running daemon: its state in one line, and that its event loop
                      turns.

people
  __main__            `python -m ppmproxy`: the same as the command `ppmproxy`.
  cli                 The commands.
  command             What every command has: its surroundings, the flags of the settings, and how it speaks.
  run                 `ppmproxy run`: the proxy, in the foreground, until it is told to stop.
  exec_command        `ppmproxy exec`: a proxy for the length of one command.
  borrowed_daemon     A running daemon that a command uses for a while: its sign-ins are told, and one that ends too
                      early is replaced.
  daemon_thread       A daemon in a thread of its own, for commands that need one for a while.
  event_loop          The event loop of a command, whose end waits for no thread.
  status_command      `ppmproxy status`: is it up, which upstreams, which credential.
  wait                `ppmproxy wait`: return when the daemon is ready, or at least alive.
  shutdown            `ppmproxy shutdown`: end this user's daemon in an orderly way, from a script or another container.
  login               `ppmproxy login`: sign in through the browser, and keep the token where posit-keyring and pak find
                      it too.
  logout              `ppmproxy logout`: forget the token of one upstream, and nobody else's.
  env                 `ppmproxy env`: the variables that point every client here, for a shell to evaluate.
  chosen_upstream     Which of the upstreams a command is about.
  chosen_index        Which local URL a command points clients at: address, mount, repository and snapshot.
  client_variables    Which environment variables point every client here.
  configure           `ppmproxy configure`: write the proxy's URL into a client's own file, and take it back exactly.
  client_files        Which file of a client points it somewhere, and what that file is to say.
  lock                `ppmproxy lock`: lock files that name the Package Manager, for everybody, or the proxy, for this
                      machine.
  lock_files          Lock files between the proxy's URLs and the Package Manager's: the same text, with one prefix for
                      the other.
  config_command      `ppmproxy config`: show, check or explain the settings.
  lock_round_trip     Lock files that name the proxy while a command runs, and the Package Manager before and after.
  completion          `ppmproxy completion`: a script that has a shell complete commands, options and their values.
  service             `ppmproxy service`: run in the background, from login on, as the platform's own service manager
                      does it.
  service_order       What somebody asked of `ppmproxy service`, with everything that it takes to do it.
  service_systemd     The service on Linux: units of the user's systemd, written, started, looked at and removed.
  service_health      How systemd's units for ppmproxy are doing, what is wrong with them, and what to do about it.
  service_elsewhere   The service on macOS and Windows: a launchd agent or a scheduled task, written for the person to
                      load.
  doctor              `ppmproxy doctor`: checks, each with its fix.
  local_checkup       Whether this user's daemon is running where clients look for it, and what else on this machine is
                      in its way.
  upstream_checkup    Whether a Package Manager can be reached, is trusted, and takes the token that is there.
  client_survey       A look through the files in which clients are told where packages come from.
  canary              A made-up token sent through a set-up, to see that it comes out nowhere but at the Package
                      Manager.
  demo                `ppmproxy demo`: a real install through the proxy, from an embedded Package Manager, offline.
  stand_in            A small, honest Package Manager on loopback: start it, fill it, ask what it saw, make it
                      misbehave.
"""
