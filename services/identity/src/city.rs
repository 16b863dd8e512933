//! What identity takes from the city's folder: telephone prefixes (`phone-prefixes.csv`), the region of numbers and the zone of its
//! days (`city.toml`); its agencies are `organisation`'s.
//!
//! Touches only those files, and only at start and in [`check_city`].
//! Invariant: [`Prefixes::load`] refuses everything that [`check_city`] reports.

use std::collections::HashMap;
use std::path::Path;

use platform::dataset::{Fault, Faults, line_containing, read_csv_faults, read_toml};
use serde::Deserialize;

use crate::organisation;
use crate::phone::Numbering;

const FILE: &str = "phone-prefixes.csv";
const CITY_FILE: &str = "city.toml";
const MIN_DIGITS: usize = 2;
const MAX_DIGITS: usize = 6;

/// What stands behind a telephone prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrefixKind {
    /// A mobile network: such numbers receive SMS.
    Mobile,
    /// Fixed lines of an area: such numbers receive no SMS.
    FixedArea,
}

/// One telephone prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix in national form, such as `097`.
    pub digits: String,
    /// The carrier, or the area of fixed lines.
    pub holder: String,
    /// Mobile or fixed.
    pub kind: PrefixKind,
}

/// All telephone prefixes of the country.
#[derive(Clone, Debug, Default)]
pub struct Prefixes {
    by_digits: HashMap<String, Prefix>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    prefix: String,
    holder: String,
    kind: PrefixKind,
}

impl Prefixes {
    /// Reads and checks the prefixes of a city's folder.
    pub fn load(dir: &Path) -> Result<Self, Faults> {
        let (prefixes, faults) = read(dir);
        if faults.is_empty() { Ok(prefixes) } else { Err(Faults(faults)) }
    }

    /// The prefix of a number in national form (`0912345678`): the longest match decides.
    pub fn find(&self, national: &str) -> Option<&Prefix> {
        let longest = national.len().min(MAX_DIGITS);
        (MIN_DIGITS..=longest)
            .rev()
            .filter_map(|length| national.get(..length))
            .find_map(|digits| self.by_digits.get(digits))
    }

    /// Whether a number in national form belongs to a mobile network.
    pub fn is_mobile(&self, national: &str) -> bool {
        self.find(national).is_some_and(|prefix| prefix.kind == PrefixKind::Mobile)
    }
}

/// The region (ISO 3166-1) by which the city's people write telephone numbers, from `city.toml`.
pub(crate) fn phone_region(dir: &Path) -> Result<String, Fault> {
    #[derive(Deserialize)]
    struct CityFile {
        phone_region: String,
    }
    Ok(read_toml::<CityFile>(&dir.join(CITY_FILE))?.value.phone_region)
}

/// The zone in which the city counts days, from `city.toml`.
pub(crate) fn zone(dir: &Path) -> Result<chrono_tz::Tz, Fault> {
    #[derive(Deserialize)]
    struct CityFile {
        time_zone: String,
    }
    let path = dir.join(CITY_FILE);
    let zone = read_toml::<CityFile>(&path)?.value.time_zone;
    zone.parse().map_err(|_| Fault::new(&path, 0, "time_zone is not a zone of the IANA database"))
}

/// Every fault of what identity reads in a city's folder, with file and line.
pub fn check_city(dir: &Path) -> Vec<Fault> {
    let mut faults = read(dir).1;
    match phone_region(dir) {
        Ok(region) if Numbering::try_new(&region, &[]).is_err() => {
            let path = dir.join(CITY_FILE);
            let line = line_containing(&path, "phone_region");
            faults.push(Fault::new(
                &path,
                line,
                format_args!("phone_region {region:?} is no region with telephone numbers"),
            ));
        }
        Ok(_) => {}
        Err(fault) => faults.push(fault),
    }
    faults.extend(zone(dir).err());
    faults.extend(organisation::check(dir));
    faults
}

fn read(dir: &Path) -> (Prefixes, Vec<Fault>) {
    let path = dir.join(FILE);
    let (rows, mut faults) = read_csv_faults::<Row>(&path);
    let mut lines = HashMap::new();
    let mut prefixes = Prefixes::default();
    for (line, row) in rows {
        let digits = row.prefix;
        let good = digits.starts_with('0')
            && (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !good {
            let message = format!("prefix {digits:?} is not 0 and {} to {} digits", MIN_DIGITS - 1, MAX_DIGITS - 1);
            faults.push(Fault::new(&path, line, message));
        }
        if row.holder.trim().is_empty() {
            faults.push(Fault::new(&path, line, "the holder of the prefix is missing"));
        }
        if let Some(first) = lines.insert(digits.clone(), line) {
            faults.push(Fault::new(&path, line, format_args!("prefix {digits} stands on line {first} already")));
        }
        let prefix = Prefix { digits: digits.clone(), holder: row.holder, kind: row.kind };
        prefixes.by_digits.insert(digits, prefix);
    }
    let mobile = prefixes.by_digits.values().any(|prefix| prefix.kind == PrefixKind::Mobile);
    if !mobile && faults.is_empty() {
        faults.push(Fault::new(&path, 0, "holds no mobile prefix"));
    }
    (prefixes, faults)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use platform::embedded::scratch::TestFolder;

    use super::*;

    fn city() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue")
    }

    /// The faults of a folder whose prefixes are these lines below the header, which is line 2.
    fn faults(name: &str, rows: &str) -> Vec<String> {
        let folder = TestFolder::new(name).expect("a folder");
        let dir = folder.path();
        fs::write(dir.join(FILE), format!("# Origin: a test\nprefix,holder,kind\n{rows}"))
            .expect("the file can be written");
        let city_file = "# Origin: a test\nphone_region = \"VN\"\ntime_zone = \"Asia/Ho_Chi_Minh\"\n";
        fs::write(dir.join(CITY_FILE), city_file).expect("the file can be written");
        for other in ["agencies.csv", "wards.csv"] {
            fs::copy(city().join(other), dir.join(other)).expect("the city's file can be copied");
        }
        let faults = check_city(dir);
        let file = dir.join(FILE).display().to_string();
        faults.iter().map(|fault| fault.to_string().replace(&file, FILE)).collect()
    }

    #[test]
    fn a_region_without_numbers_is_named_with_its_line_and_a_zone_that_is_none() {
        let folder = TestFolder::new("region").expect("a folder");
        let dir = folder.path();
        let city_file = "# Origin: a test\nphone_region = \"ZZ\"\ntime_zone = \"Asia/Hue\"\n";
        fs::write(dir.join(CITY_FILE), city_file).expect("the file can be written");
        let faults: Vec<String> = check_city(dir).iter().map(ToString::to_string).collect();
        assert!(faults.iter().any(|fault| fault.contains("city.toml:2") && fault.contains("ZZ")), "{faults:?}");
        assert!(faults.iter().any(|fault| fault.contains("city.toml") && fault.contains("time_zone")), "{faults:?}");
    }

    #[test]
    fn the_longest_prefix_decides() {
        assert_eq!(check_city(&city()), []);
        let prefixes = Prefixes::load(&city()).expect("the prefixes are sound");
        let holder = |number| prefixes.find(number).map(|prefix| prefix.holder.as_str());
        assert_eq!(holder("0861234567"), Some("Viettel"));
        assert_eq!(holder("0881234567"), Some("Vinaphone"));
        assert_eq!(holder("0999123456"), Some("Indochina Telecom"));
        assert_eq!(holder("0991"), None);
        assert_eq!(holder(""), None);
        assert_eq!(holder("đ12"), None);
        assert!(prefixes.is_mobile("0912345678"));
        assert!(!prefixes.is_mobile("02343821234"));
        assert!(!prefixes.is_mobile("0000000000"));
    }

    #[test]
    fn faults_name_file_and_line() {
        let good = "03,Viettel,mobile\n";
        let one = |name, row: &str| {
            let mut faults = faults(name, &format!("{good}{row}\n"));
            assert_eq!(faults.len(), 1, "{faults:?}");
            faults.swap_remove(0)
        };
        let prefix = "phone-prefixes.csv:4: ";
        assert_eq!(one("twice", "03,Other,mobile"), format!("{prefix}prefix 03 stands on line 3 already"));
        assert_eq!(one("zero", "97,Viettel,mobile"), format!("{prefix}prefix \"97\" is not 0 and 1 to 5 digits"));
        assert_eq!(one("letters", "0a,Viettel,mobile"), format!("{prefix}prefix \"0a\" is not 0 and 1 to 5 digits"));
        assert_eq!(one("holder", "09,,mobile"), format!("{prefix}the holder of the prefix is missing"));
        assert!(one("kind", "09,Viettel,satellite").starts_with(&format!("{prefix}unknown variant `satellite`")));
        assert_eq!(faults("none", "0234,Huế,fixed-area\n"), ["phone-prefixes.csv: holds no mobile prefix"]);
    }
}
