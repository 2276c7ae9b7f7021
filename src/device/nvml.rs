//! NVIDIA's counter of a GPU's energy, through the driver's own library (NVML), which is looked for when it is needed.
#![expect(unsafe_code, reason = "calls a library that may not be there, by the names and types of its documentation")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

const LIBRARY: &CStr = c"libnvidia-ml.so.1";
/// Resolve every name when the library is opened.
const RTLD_NOW: c_int = 2;
/// What NVML's functions return when all went well.
const SUCCESS: c_int = 0;

type Init = unsafe extern "C" fn() -> c_int;
type Count = unsafe extern "C" fn(*mut c_uint) -> c_int;
type Handle = unsafe extern "C" fn(c_uint, *mut *mut c_void) -> c_int;
type Energy = unsafe extern "C" fn(*mut c_void, *mut u64) -> c_int;

/// The only GPU of the machine.
#[derive(Debug)]
pub(super) struct Gpu {
    energy: Energy,
    handle: *mut c_void,
}

// SAFETY: NVML's documentation says that its functions may be called from any thread; the handle is only passed to them.
unsafe impl Send for Gpu {}

impl Gpu {
    /// Finds the machine's GPU. Where there are several, which of them computes is not known here, and none is taken.
    pub(super) fn open() -> Result<Self, String> {
        // SAFETY: the name ends with zero. The library is never closed, so that its functions stay valid.
        let library = unsafe { dlopen(LIBRARY.as_ptr(), RTLD_NOW) };
        if library.is_null() {
            return Err("NVIDIA's library of counters (libnvidia-ml.so.1) is not there: install the driver".to_owned());
        }
        let find = |name: &CStr| {
            // SAFETY: the library is open, the name ends with zero.
            let found = unsafe { dlsym(library, name.as_ptr()) };
            if found.is_null() {
                Err(format!("NVIDIA's library of counters has no {}", name.to_string_lossy()))
            } else {
                Ok(found)
            }
        };
        let symbols = [
            find(c"nvmlInit_v2")?,
            find(c"nvmlDeviceGetCount_v2")?,
            find(c"nvmlDeviceGetHandleByIndex_v2")?,
            find(c"nvmlDeviceGetTotalEnergyConsumption")?,
        ];
        // SAFETY: these are the types that NVML's header declares for these names.
        let (init, count, handle, energy) = unsafe {
            (
                std::mem::transmute::<*mut c_void, Init>(symbols[0]),
                std::mem::transmute::<*mut c_void, Count>(symbols[1]),
                std::mem::transmute::<*mut c_void, Handle>(symbols[2]),
                std::mem::transmute::<*mut c_void, Energy>(symbols[3]),
            )
        };
        let mut gpus: c_uint = 0;
        let mut device: *mut c_void = std::ptr::null_mut();
        // SAFETY: each call gets a place of its own to write to, and the first one makes the others possible.
        let states = unsafe { [init(), count(&raw mut gpus), handle(0, &raw mut device)] };
        if states != [SUCCESS; 3] {
            return Err(format!("NVIDIA's library of counters found no GPU (status {states:?})"));
        }
        if gpus != 1 {
            return Err(format!("there are {gpus} GPUs, and which of them computes is not known to NVIDIA's counters"));
        }
        let gpu = Self { energy, handle: device };
        match gpu.millijoules() {
            Some(_) => Ok(gpu),
            None => Err("this GPU counts no energy: NVIDIA's do from the Volta generation on".to_owned()),
        }
    }

    /// Millijoules since the driver was loaded.
    pub(super) fn millijoules(&self) -> Option<u64> {
        let mut value = 0;
        // SAFETY: the handle came from the library, and the place to write to is this function's own.
        let state = unsafe { (self.energy)(self.handle, &raw mut value) };
        (state == SUCCESS).then_some(value)
    }
}
