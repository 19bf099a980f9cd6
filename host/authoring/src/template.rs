//! Projects from templates. The files are embedded; nothing is fetched.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, Language, World, javascript, project, python, rust};

/// A file of a template: its path in the project, and its text with `{{placeholders}}`.
pub(crate) type File = (&'static str, &'static str);

/// The WIT of the worlds, as it is in the repository.
const WIT: [File; 4] = [
    ("wit/authorizer.wit", include_str!("../../../wit/authorizer.wit")),
    ("wit/renderer.wit", include_str!("../../../wit/renderer.wit")),
    ("wit/router.wit", include_str!("../../../wit/router.wit")),
    ("wit/types.wit", include_str!("../../../wit/types.wit")),
];

/// What `create` made.
#[derive(Debug, Clone)]
pub struct Created {
    /// The project's folder.
    pub folder: PathBuf,
    /// Its files, relative, in the order in which they were written.
    pub files: Vec<PathBuf>,
    /// Commands to type in the folder before the first build.
    pub setup: Vec<String>,
}

/// Makes a project in `folder`, which must not exist or be empty.
///
/// # Errors
/// The name is no policy's, or something is there already: nothing is written then.
pub fn create(folder: &Path, name: &str, world: World, language: Language) -> Result<Created, Error> {
    project::check_name(name)?;
    if language == Language::Rust && rust::is_dependency(name) {
        return Err(Error::Name { name: name.to_owned(), rule: "a crate that it depends on has this name" });
    }
    let taken = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    };
    if taken {
        return Err(Error::Exists(folder.to_owned()));
    }
    let (sources, setup, files): (Vec<File>, Vec<String>, &str) = match language {
        Language::Rust => (rust::template(world), Vec::new(), rust::FILES),
        Language::Js => (javascript::template(world), javascript::setup(), javascript::FILES),
        Language::Python => (python::template(world), python::setup(), python::FILES),
    };
    let cases = match world {
        World::Router => include_str!("../templates/cases/router.test.toml"),
        World::Authorizer => include_str!("../templates/cases/authorizer.test.toml"),
        World::Renderer => include_str!("../templates/cases/renderer.test.toml"),
    };
    let table = match world {
        World::Router => "[router]",
        World::Authorizer => "[[authorizer]]",
        World::Renderer => "[renderer]",
    };
    let class = match language {
        Language::Rust => "",
        Language::Js | Language::Python => "\nclass = \"language\"              # it carries an interpreter",
    };
    let shown_setup: String = setup.iter().map(|line| format!("{line}\n")).collect();
    let filled = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{library}}", &rust::library(name))
            .replace("{{world}}", world.name())
            .replace("{{lang}}", language.name())
            .replace("{{table}}", table)
            .replace("{{class}}", class)
            .replace("{{setup}}", &shown_setup)
            .replace("{{files}}", files)
    };
    let common = [
        (project::MANIFEST, include_str!("../templates/policy.toml")),
        ("policy.test.toml", cases),
        ("README.md", include_str!("../templates/README.md")),
    ];
    let mut created = Created { folder: folder.to_owned(), files: Vec::new(), setup };
    for (path, text) in common.into_iter().chain(sources).chain(WIT) {
        let target = folder.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(Error::file("make", parent))?;
        }
        // The host's own files (WIT, SDK) hold no placeholders; they pass unchanged.
        fs::write(&target, filled(text)).map_err(Error::file("write", &target))?;
        created.files.push(path.into());
    }
    Ok(created)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Project;

    #[test]
    fn a_project_of_every_kind_is_whole_and_has_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        for world in World::ALL {
            for language in Language::ALL {
                let folder = dir.path().join(format!("{world}-{language}"));
                let created = create(&folder, "my-policy", world, language).expect("made");
                for file in &created.files {
                    let text = fs::read_to_string(folder.join(file)).expect("readable");
                    assert!(!text.contains("{{"), "{} has a placeholder", file.display());
                }
                let project = Project::open(&folder).expect("a project");
                assert_eq!((project.name.as_str(), project.world, project.language), ("my-policy", world, language));
                assert!(matches!(create(&folder, "my-policy", world, language), Err(Error::Exists(_))));
            }
        }
    }

    #[test]
    fn a_name_that_cannot_be_is_refused_and_nothing_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["", "My", "1a", "a b", "../x", "a/b", "a--b", "a-", "ä", "serde", &"a".repeat(41)] {
            let folder = dir.path().join("p");
            assert!(matches!(create(&folder, name, World::Router, Language::Rust), Err(Error::Name { .. })), "{name}");
            assert!(!folder.exists(), "{name}");
        }
    }

    #[test]
    fn a_folder_that_is_no_project_says_what_is_missing() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(Project::open(dir.path()).expect_err("none").to_string().contains("no policy.toml"));
        fs::write(dir.path().join("policy.toml"), "name = \"x\"\nworld = \"router\"\nlang = \"cobol\"\n")
            .expect("written");
        assert!(Project::open(dir.path()).expect_err("cobol").to_string().contains("cobol"));
    }
}
