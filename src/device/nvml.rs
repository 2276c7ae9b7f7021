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
        Self::of_library(LIBRARY)
    }

    fn of_library(name: &CStr) -> Result<Self, String> {
        // SAFETY: the name ends with zero. The library is never closed, so that its functions stay valid.
        let library = unsafe { dlopen(name.as_ptr(), RTLD_NOW) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::path::Path;
    use std::process::Command;

    /// A library of this many GPUs, whose counter is half a joule further at each reading.
    fn made_up(folder: &Path, gpus: u32) -> CString {
        let source = format!(
            "int nvmlInit_v2(void) {{ return 0; }}\n\
             int nvmlDeviceGetCount_v2(unsigned *count) {{ *count = {gpus}; return 0; }}\n\
             static unsigned long long spent = 1000;\n\
             int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {{ *handle = &spent; return index; }}\n\
             int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *value) {{\n\
               *value = (*(unsigned long long *)handle += 500); return 0; }}\n"
        );
        let (code, library) = (folder.join("nvml.c"), folder.join(format!("nvml{gpus}.so")));
        std::fs::write(&code, source).expect("written");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&code)
            .status()
            .expect("a C compiler");
        assert!(built.success());
        CString::new(library.to_str().expect("text")).expect("no zero")
    }

    #[test]
    fn the_counter_of_the_only_gpu_is_read_and_of_several_none() {
        let folder = tempfile::tempdir().expect("folder");
        let gpu = Gpu::of_library(&made_up(folder.path(), 1)).expect("one GPU");
        let first = gpu.millijoules().expect("a counter");
        assert_eq!(gpu.millijoules(), Some(first + 500));
        let several = Gpu::of_library(&made_up(folder.path(), 2)).expect_err("which one?");
        assert!(several.contains("there are 2 GPUs"), "{several}");
        let none = Gpu::of_library(c"libthat-is-nowhere.so.1").expect_err("no library");
        assert!(none.contains("install the driver"), "{none}");
        let other = Gpu::of_library(c"libc.so.6").expect_err("another library");
        assert!(other.contains("nvmlInit_v2"), "{other}");
    }
}
